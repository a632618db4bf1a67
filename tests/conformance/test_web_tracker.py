"""Our tracker for the web in a real Chromium: what pages send, and what they don't."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest
from tests.conformance.tracker_bed import SCRIPT, as_they_happened, events, wait_for
from tests.helpers import toolchains
from tests.helpers.browser import Browser, Page
from tests.helpers.proxy import Proxy, Reply

from millrace import waiting

MOZILLA = "Mozilla/5.0"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"


MISUSED = """
import * as web from '@millrace/web';
console.log(Object.keys(web).join());
const url = 'https://api.example';
const wrong = [undefined, null, {}, { key: 'k' }, { url: 7, key: 'k' }, { url: 'api', key: 'k' },
  { url }, { url, key: '\\ud800' }];
for (const options of wrong) {
  const tracker = web.create(options);
  tracker.track('own', {});
  tracker.page();
  tracker.identify(1);
  tracker.consent(true);
  await tracker.flush();
}
"""
"""Imports the package, and calls it as nobody should."""


def test_the_script_is_what_its_source_builds(tmp_path: Path) -> None:
    node = toolchains.node_packages(toolchains.WEB)
    built = tmp_path / "m.js"
    subprocess.run([node, str(toolchains.WEB / "build.mjs"), str(built)], check=True)
    assert built.read_text() == SCRIPT.read_text(), "run `npm ci && npm run build` in sdk/web"


def test_the_script_is_small() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes(), 9)) <= 3 * 1024


def test_the_types_hold(tmp_path: Path) -> None:
    toolchains.node_packages(toolchains.WEB)
    tsc = toolchains.WEB / "node_modules" / ".bin" / "tsc"
    command = [str(tsc), "-p", "tsconfig.json", "--outDir", str(tmp_path)]
    done = subprocess.run(command, cwd=toolchains.WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Tracker" in (tmp_path / "index.d.ts").read_text()


def test_the_package_that_npm_packs_can_be_imported_and_never_throws(tmp_path: Path) -> None:
    node = toolchains.node_packages(toolchains.WEB)
    npm = toolchains.need("npm", "npm")
    source = tmp_path / "sdk" / "web"
    shutil.copytree(toolchains.WEB, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(toolchains.WEB / "node_modules")
    command = [npm, "pack", "--silent", "--pack-destination", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    package = tmp_path / "package"
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"} <= files
    assert not [name for name in files if not name.startswith("dist/") and "/" in name]
    place = tmp_path / "page" / "node_modules" / "@millrace"
    place.mkdir(parents=True)
    package.rename(place / "web")
    asked = [node, "--input-type=module", "--eval", MISUSED]
    done = subprocess.run(asked, cwd=tmp_path / "page", check=True, capture_output=True, text=True)
    assert done.stdout == "create\n"
    assert done.stderr.count("millrace:") == 8  # said once each, and nothing thrown


def test_a_page_view_says_who_where_and_with_what(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/hats?utm_source=mail&secret=1")
    (event,) = wait_for(api, 1)
    assert uuid.UUID(event["event_id"]).version == 4
    assert event["event"] == "page_view"
    assert event["page"] == "/hats"
    assert (event["title"], event["utm_source"]) == ("Shop", "mail")
    assert "secret" not in json.dumps(event)
    assert 2**52 <= event["user_id"] < 2**53
    assert event["anonymous_id"] == str(event["user_id"])
    (sent,) = api.posts("/v1/events")
    assert sent.path == "/v1/events?key=mk"
    assert sent.headers["content-type"].startswith("text/plain")
    assert not [s for s in api.sent if s.method == "OPTIONS"]


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (f"{MOZILLA} (X11; Linux x86_64) {CHROME} Safari/537.36", "desktop"),
        (f"{MOZILLA} (Linux; Android 10; K) {CHROME} Mobile Safari/537.36", "mobile"),
        (f"{MOZILLA} (Linux; Android 10; K) {CHROME} Safari/537.36", "tablet"),
        (f"{MOZILLA} (Linux; Android 12; BRAVIA 4K VH2) {CHROME} Safari/537.36", "tv"),
    ],
)
def test_the_api_tells_the_device_by_the_browsers_agent(
    api: Proxy, shop: Proxy, chromium: Browser, agent: str, device: str
) -> None:
    page = chromium.open(agent=agent)
    page.goto(f"{shop.url}/hats")
    page.run("millrace.track('own', {device: 'bot'}); millrace.flush()")
    viewed, own = wait_for(api, 2)
    assert (viewed["device"], own["device"]) == (device, "bot")
    assert not [sent for sent in api.posts("/v1/events") if device in sent.text]
    chromium.close(page)


def test_pages_of_one_and_of_many_documents(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/one")
    page.run("history.pushState(null, '', '/two')")
    page.run("history.replaceState({}, '', '/two')")  # the same page
    page.run("history.pushState(null, '', '/three')")
    page.back()
    page.goto(f"{shop.url}/four")
    came = as_they_happened(wait_for(api, 5))
    assert [event["page"] for event in came] == ["/one", "/two", "/three", "/two", "/four"]
    assert len({event["user_id"] for event in came}) == 1
    assert len({event["session_id"] for event in came}) == 1


def test_events_of_ones_own_go_together(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    page.run("for (let n = 0; n < 150; n++) millrace.track('purchase', {n, page: '/p'})")
    came = wait_for(api, 150)
    assert [event["n"] for event in came] == list(range(150))
    assert {event["page"] for event in came} == {"/p"}
    assert len(api.posts("/v1/events")) == 2  # at most 100 in each


def test_what_waits_when_a_page_is_left_goes_by_beacon(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/?data-pages=off&data-wait=3600000")
    page.run("millrace.track('left', {text: 'x'.repeat(40000)})")
    page.run("millrace.track('left', {text: 'y'.repeat(10)})")
    page.goto("about:blank")
    came = wait_for(api, 2)
    assert [event["text"][0] for event in came] == ["x", "y"]
    page.goto(f"{shop.url}/next")
    assert [event["event"] for event in wait_for(api, 3)] == ["left", "left", "page_view"]


@pytest.mark.parametrize("reply", [Reply(503), Reply(429), Reply(cut=True), Reply(200, {"a": 1})])
def test_what_is_not_acknowledged_is_sent_again(
    api: Proxy, shop: Proxy, page: Page, reply: Reply
) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    api.replies = [reply]
    page.run("millrace.track('purchase')")
    waiting.until(lambda: len(api.posts("/v1/events")) == 2, "the second try", seconds=30)
    first, second = api.posts("/v1/events")
    assert first.body == second.body


def test_what_is_refused_for_good_is_not(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    api.replies = [Reply(401)]
    page.run("millrace.track('refused')")
    api.wait_for(2)
    page.run("millrace.track('taken')")
    assert [event["event"] for event in wait_for(api, 1)] == ["taken"]


def test_a_batch_that_is_too_large_is_halved(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    api.replies = [Reply(413)]
    page.run("for (let n = 0; n < 4; n++) millrace.track('purchase', {n})")
    assert [event["n"] for event in wait_for(api, 4)] == [0, 1, 2, 3]
    assert [len(sent.body.splitlines()) for sent in api.posts("/v1/events")] == [4, 2, 2]


def test_what_happens_offline_is_sent_by_a_later_page(
    api: Proxy, shop: Proxy, page: Page, chromium: Browser
) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    page.be_offline()
    page.run("for (let n = 0; n < 510; n++) millrace.track('offline', {n})")
    page.goto("about:blank")
    page.be_offline(False)
    page.goto(f"{shop.url}/later")
    came = wait_for(api, 500)
    assert [event["n"] for event in came[:499]] == list(range(11, 510))  # and the page itself
    assert came[499]["page"] == "/later"


def test_tabs_share_the_queue_and_lose_no_event(
    api: Proxy, shop: Proxy, page: Page, chromium: Browser
) -> None:
    other = chromium.open(beside=page)
    for tab in (page, other):
        tab.goto(f"{shop.url}/?data-pages=off")
    page.run("millrace.track('tab', {n: 0})")
    known = "localStorage.getItem('millrace.anonymous')"
    waiting.until(lambda: other.run(known), "the other tab to know the visitor", seconds=60)
    for n in range(1, 20):
        (page, other)[n % 2].run(f"millrace.track('tab', {{n: {n}}})")

    came = wait_for(api, 20)
    assert sorted(event["n"] for event in came) == list(range(20))
    assert len({event["user_id"] for event in came}) == 1


def test_who_is_known(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/?data-pages=off")
    page.run("millrace.track('before'); millrace.identify(42); millrace.track('number')")
    page.run("millrace.identify('ann@example.com'); millrace.track('text')")
    page.run("millrace.identify(null); millrace.track('after')")
    before, number, text, after = wait_for(api, 4)
    assert (number["user_id"], number["anonymous_id"]) == (42, str(before["user_id"]))
    assert text["user_id"] == before["user_id"]
    assert text["original_user_id"] == "ann@example.com"
    assert "original_user_id" not in before | number | after
    assert after["user_id"] != before["user_id"]
    assert after["session_id"] != before["session_id"]


@pytest.mark.parametrize(
    "objection",
    [
        "Object.defineProperty(navigator, 'doNotTrack', {value: '1'})",
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})",
    ],
    ids=["Do Not Track", "Global Privacy Control"],
)
def test_who_objects_is_not_tracked(
    api: Proxy, shop: Proxy, chromium: Browser, objection: str
) -> None:
    page = chromium.open(objection)
    page.goto(f"{shop.url}/")
    page.run("millrace.identify(1); millrace.track('x'); millrace.consent(true)")
    page.run("millrace.track('y'); millrace.flush()")
    page.goto(f"{shop.url}/next")
    assert page.run("Object.keys(localStorage)") in ([], ["millrace.consent"])
    assert api.posts("/v1/events") == []
    chromium.close(page)


def test_nothing_is_kept_or_sent_before_consent(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/first?data-consent=required")
    page.run("millrace.track('waiting'); millrace.flush()")
    assert page.run("Object.keys(localStorage).length") == 0
    assert api.posts("/v1/events") == []
    page.run("millrace.consent(true)")
    assert [event["event"] for event in wait_for(api, 2)] == ["page_view", "waiting"]
    page.goto(f"{shop.url}/second?data-consent=required")
    assert [event["page"] for event in wait_for(api, 3)] == ["/first", "/first", "/second"]


def test_consent_that_is_withdrawn_leaves_nothing(api: Proxy, shop: Proxy, page: Page) -> None:
    page.goto(f"{shop.url}/")
    wait_for(api, 1)
    page.run("millrace.track('unsent'); millrace.consent(false); millrace.track('after')")
    assert page.run("Object.entries(localStorage)") == [["millrace.consent", "no"]]
    page.goto(f"{shop.url}/next")
    page.run("millrace.flush()")
    assert len(events(api)) == 1
