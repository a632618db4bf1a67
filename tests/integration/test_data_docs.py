"""Data Docs as a layman meets them: real audits, in a real browser, on a phone and on a desk."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.quality_bed import Warehouse

from millrace.quality import audit, docs, suites
from millrace.quality.suites import build, load_suites
from millrace.quality.windows import closed_windows, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = '<script>document.title = "taken"</script><img src=x onerror=alert(1)>' + "long" * 40
BROKEN = """
dataset: rejected_events
relation: rejected_events
time_column: rejected_at
publishes: true
windows: [5m]
expectations:
  - expect: ExpectNoRows
    description: Every rejected message is listed once.
    otherwise: Some rejected messages are listed more than once.
    query: "SELECT renamed_column FROM {batch}"
"""


@pytest.fixture
def pages(
    warehouse: Warehouse, own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """The front page, the history, and reports of windows in every state."""
    folder = tmp_path / "expectations"
    shutil.copytree(suites.FOLDER / "base", folder / "base")
    (folder / "base" / "rejected_events.yaml").write_text(BROKEN)
    monkeypatch.setattr(suites, "FOLDER", folder)
    closed = closed_windows("5m", datetime.now(UTC))[-4:]
    warehouse.load([closed[0].start] * 2_000)
    warehouse.load([closed[1].start], device=HOSTILE)
    copied = warehouse.load([closed[2].start], page=HOSTILE)[0]
    again = [
        copied | {"offset": 1_000_000 + n, "country": "<b>", "device": HOSTILE} for n in range(30)
    ]
    warehouse.write("events", again)
    audits = [one for window in closed for one in audit.audit_window(own_settings, window)]
    day = window_at("1d", datetime.now(UTC) - timedelta(days=1))
    audits += audit.audit_window(own_settings, day, "events")
    with (
        clickhouse.connect(own_settings, "quality") as client,
        postgres.connect(own_settings) as connection,
    ):
        client.insert(
            "quality_metrics",
            [[closed[0].start.replace(minute=0), "events", "timeliness", 0.99, 0.998, 99, 100]],
            column_names=["hour", "source_id", "metric", "value", "target", "good", "total"],
        )
        client.insert(
            "quality_anomalies",
            [["volume", closed[0].start, HOSTILE, "country=DE", 1234567.0, 200.0, 6.25]],
            column_names=[
                *("kind", "window_start", "event_type", "dimension"),
                *("value", "expected", "deviations"),
            ],
        )
        overview = docs.write_overview(own_settings, client, connection)
    return [*overview, *(docs.site(own_settings) / one.report for one in audits)]


CONTRAST = """
  const style = one => getComputedStyle(one);
  const parts = colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [[r, g, b], a];
  };
  const mixed = (front, back, a) => front.map((value, n) => value * a + back[n] * (1 - a));
  const above = one => one ? [one, ...above(one.parentElement)] : [];
  const ground = one => above(one).reverse().reduce((back, each) => {
    const [colour, a] = parts(style(each).backgroundColor);
    return mixed(colour, back, a);
  }, [255, 255, 255]);
  const light = colour => colour
    .map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const contrast = one => {
    const back = ground(one), [colour, a] = parts(style(one).color);
    const opacity = above(one).reduce((product, each) => product * style(each).opacity, a);
    const both = [light(back), light(mixed(colour, back, opacity))].sort((x, y) => x - y);
    return (both[1] + .05) / (both[0] + .05);
  };
  const needed = one => {
    const size = parseFloat(style(one).fontSize);
    return size >= 24 || (size >= 18.66 && style(one).fontWeight >= 700) ? 3 : 4.5;
  };
"""
"""What WCAG 2.2 calls contrast, and how much of it text needs for level AA."""


def measured(page: Path, width: int, folder: Path, is_dark: bool = False) -> dict[str, object]:
    """Return what a browser says of a page that is as wide as a phone or a desk."""
    script = """
      const seen = document.querySelector("iframe").contentWindow, page = seen.document;
      const wide = [...page.querySelectorAll("body *")]
        .filter(one => one.getBoundingClientRect().right > seen.innerWidth + 1
                       && getComputedStyle(one).clipPath === "none")
        .map(one => one.outerHTML.slice(0, 80));
      const faint = [...page.querySelectorAll("body, body *:not(script):not(style):not(noscript)")]
        .filter(one => one.checkVisibility() && [...one.childNodes].some(
          each => each.nodeType === Node.TEXT_NODE && each.data.trim()))
        .map(one => [contrast(one), needed(one), one.outerHTML.slice(0, 80)])
        .filter(([has, needs]) => has < needs);
      document.body.textContent = JSON.stringify({
        inner: seen.innerWidth, over: page.documentElement.scrollWidth
          - page.documentElement.clientWidth, wide: wide.slice(0, 5), faint: faint.slice(0, 5),
        title: page.title, scripts: page.scripts.length, pictures: page.images.length,
        stale: !(page.getElementById("stale")?.hidden ?? true),
        age: page.getElementById("age").textContent});"""
    text = page.read_text(encoding="utf-8")
    if is_dark:
        text = text.replace("(prefers-color-scheme: dark)", "all")
    frame = html.escape(text, quote=True)
    wrapper = folder / f"{page.stem}-{width}.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><body><iframe width="{width}" height="900" '
        f'style="border:0" srcdoc="{frame}"></iframe>'
        f"<script>onload = () => {{{CONTRAST + script}}}</script></body>",
        encoding="utf-8",
    )
    profile = folder / "profile"
    answer = subprocess.run(
        [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    found = re.search(r"<body>(.*)</body>", answer.stdout, re.DOTALL)
    assert found, answer.stderr
    said: dict[str, object] = json.loads(html.unescape(found[1]))
    return said


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")
@pytest.mark.parametrize(("width", "is_dark"), [(360, True), (1440, False)])
def test_pages_fit_their_screen_and_can_be_read(
    pages: list[Path], width: int, is_dark: bool, tmp_path: Path
) -> None:
    by_text = {page.name.split("-")[0] + str(page.stat().st_size // 2_000): page for page in pages}
    for page in by_text.values():
        said = measured(page, width, tmp_path, is_dark)
        assert (said["inner"], said["over"], said["wide"]) == (width, 0, []), page.name
        assert said["faint"] == [], page.name
        assert (said["scripts"], said["pictures"]) == (1, 0)
        assert str(said["title"]).endswith("· Millrace")
        assert not said["stale"]
        assert "ago" in str(said["age"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")
def test_an_overview_says_that_it_is_out_of_date(pages: list[Path], tmp_path: Path) -> None:
    front = pages[0]
    old = datetime.now(UTC) - timedelta(hours=3)
    text = re.sub(r'datetime="[^"]+"', f'datetime="{old:%Y-%m-%dT%H:%M:%SZ}"', front.read_text())
    aged = tmp_path / "aged.html"
    aged.write_text(text)
    said = measured(aged, 360, tmp_path)
    assert (said["stale"], said["age"]) == (True, ", 3 hours ago")


def test_pages_say_what_is_so_and_what_to_do(pages: list[Path]) -> None:
    front, history, *reports = (page.read_text() for page in pages)
    if kept := os.environ.get("KEEP_DATA_DOCS"):
        for page in pages:
            shutil.copy(page, kept)
    assert "Some event ids occur more than once" in front
    assert "Every event id occurs once" not in front
    assert "Could not run:" in front
    assert "1,234,567 in the hour" in front
    assert "runbooks/window_withheld.md" in front
    for text in (front, history, *reports):
        assert "<dt>Withheld</dt>" in text
        assert "<img" not in text
        assert "not so" not in text
    (bad,) = (
        text
        for text in reports
        if "found wrong data" in text and "<h1>events" in text and "5m" in text
    )
    assert "&lt;script&gt;" in bad
    assert "<code>31</code>" in bad
    assert "What to do" in bad
    assert "withheld: a check could not run" in history
    assert "not audited" in history


def test_every_expectation_has_two_sentences() -> None:
    for suite in load_suites():
        for kind in suite.windows:
            window = window_at(kind, datetime.now(UTC))
            for made in build(suite, window):
                assert made.description
                assert made.meta["otherwise"] not in ("", made.description)
