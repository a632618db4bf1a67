"""Data Docs: the reports people read, on disk and in object storage, and their front page.

Pages are written from the results of checkpoints by templates of our own. Great Expectations' pages
load styles and scripts from eight other hosts, and each run of its site builder reads all results
that there are; here a run writes the pages of its own windows and two overviews.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
import shutil
from base64 import b64encode
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from minio.deleteobjects import DeleteObject
from psycopg.rows import DictRow

from millrace.contract import runbooks
from millrace.quality import calendar, metrics, pending, wording
from millrace.quality.model import Audit
from millrace.quality.windows import Window
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres, sql

PREFIX = "data_docs"
KEPT_FOR = timedelta(days=14)
"""How long a report stays; results stay in ``quality_results`` as long as events do."""

FRONT_PAGE = "index.html"
RUNBOOK = "docs/runbooks/window_withheld.md"
STALLED = "docs/runbooks/pipeline_stalled.md"
STALE_AFTER = timedelta(minutes=15)
"""Age of the newest audit from which the overviews warn: there is one every five minutes."""

SERVED_AT = "/data-docs"
"""Where the Airflow plugin ``millrace_data_docs`` serves the pages."""


def site(settings: Settings) -> Path:
    """Return the folder of the Data Docs; ``index.html`` in it is the front page."""
    return settings.home / "quality" / "site"


def page_of(dataset: str, window: Window, checked_at: datetime) -> str:
    """Return a report's page, relative to the Data Docs; a later audit has a page of its own."""
    name = f"{dataset}-{window.name}-{checked_at:%H%M%S}"
    return f"reports/{checked_at:%Y-%m-%d}/{name}.html"


def link(settings: Settings, page: str) -> str:
    """Return the address of a page."""
    return f"{settings.airflow_url}{SERVED_AT}/{page}"


@lru_cache(maxsize=1)
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("millrace.quality"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["say"] = wording
    return pages


def _write(settings: Settings, page: str, template: str, **values: Any) -> Path:
    path = site(settings) / page
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _pages().get_template(template).render(**values)
    path.write_text(text, encoding="utf-8")
    return path


def write_report(settings: Settings, audit: Audit) -> Path:
    """Write the page of an audit; return its path."""
    return _write(
        settings,
        audit.report,
        "report.html",
        root="../../",
        audit=audit,
        bad=[found for found in audit.failures if found.is_checked],
        moment=audit.checked_at,
        runbook=runbooks.link(settings, RUNBOOK),
    )


def write_overview(
    settings: Settings, client: Client, connection: psycopg.Connection[DictRow]
) -> list[Path]:
    """Write the page that says in one screen what is wrong now, and the history; return both."""

    def rows(name: str) -> list[dict[str, Any]]:
        answer = client.query(sql.render(f"clickhouse/quality/{name}.sql")).named_results()
        return [{key: _aware(value) for key, value in row.items()} for row in answer]

    now = datetime.now(UTC)
    withheld = connection.execute(sql.render("postgres/quality/withheld.sql")).fetchall()
    audits = rows("front_audits")
    by_window = {(a["dataset"], a["window_start"], a["window_end"]): a for a in audits}
    for one in withheld:
        bounds = [one[key].astimezone(UTC) for key in ("window_start", "window_end")]
        audit = by_window.get((one["dataset"], *bounds))
        one["label"] = Window(bounds[0], bounds[1], "").label
        one["report"] = audit["report"] if audit else ""
        one["state"] = calendar.state(audit) if audit and audit["failures"] else "bad"
    results = rows("front_results")
    for result in results:
        observed = json.loads(result["observed"] or "{}")  # an erasure may have emptied it
        result["found"] = wording.found(observed, observed.get("examples", []))
        result["label"] = Window(result["window_start"], result["window_end"], "").label
    is_fed = pending.any_judged(client, now)
    about = {
        "root": "",
        # What counts is when something was last looked at, not when the page was written.
        "moment": max((audit["checked_at"] for audit in audits), default=now) if is_fed else now,
        "stale_after": STALE_AFTER // timedelta(minutes=1),
        "runbook": runbooks.link(settings, RUNBOOK),
        "stalled": runbooks.link(settings, STALLED),
    }
    front = _write(
        settings,
        FRONT_PAGE,
        "front_page.html",
        **about,
        withheld=[one for one in withheld if not one["is_derived"]],
        derived=sorted({one["dataset"] for one in withheld if one["is_derived"]}),
        is_fed=is_fed,
        results=results,
        metrics=rows("front_metrics"),
        meanings=metrics.MEANINGS,
        anomalies=[one | {"words": _unusual(one)} for one in rows("front_anomalies")],
    )
    calendars = [
        (
            kind,
            [
                (dataset, calendar.rows(kind, list(found), now, KEPT_FOR))
                for dataset, found in groupby(group, itemgetter("dataset"))
            ],
        )
        for kind, group in groupby(audits, itemgetter("window_kind"))
    ]
    states, titles = calendar.STATES, calendar.TITLES
    history = {**about, "calendars": calendars, "states": states, "titles": titles}
    return [front, _write(settings, "history.html", "history.html", **history)]


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _unusual(one: dict[str, Any]) -> str:
    """Return an anomaly in words."""
    where = f" with {one['dimension'].replace('=', ' ')}" if one["dimension"] else ""
    value, usual = wording.number(one["value"]), wording.number(one["expected"])
    return {
        "volume": f"{one['event_type']} events{where}: {value} in the hour, usually about {usual}.",
        "freshness": f"{one['event_type']} events{where}: the slowest of twenty was read {value} s "
        f"after it was sent, usually {usual} s.",
        "distribution": f"{one['event_type']} events: shares by {one['dimension']} have shifted "
        f"(index {value}; up to {usual} is chance).",
        "user_rate": f"User {one['dimension'].rpartition('=')[2]}: {value} events in the window, "
        f"usually at most about {usual}.",
    }.get(one["kind"], f"{one['kind']}: {value}, usually {usual}")


def upload(settings: Settings, pages: Iterable[Path]) -> int:
    """Copy pages to object storage, and those that could not be copied before; return how many.

    Raises ``minio.error.S3Error`` when the storage refuses; the next call makes up for it.
    """
    client = objects.connect(settings)
    root, mark = site(settings), settings.home / "quality" / "uploaded"
    since = mark.stat().st_mtime if mark.exists() else 0.0
    started = datetime.now(UTC)
    days = [
        day
        for day in root.glob("reports/*")
        if day.name >= f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d}"
    ]
    found = {path for day in days for path in day.iterdir() if path.stat().st_mtime >= since}
    changed = sorted(found | set(pages))
    for path in changed:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = f"{PREFIX}/{path.relative_to(root).as_posix()}"
        client.fput_object(settings.s3_bucket, name, str(path), content_type=kind)
    mark.touch()
    os.utime(mark, (started.timestamp(), started.timestamp()))
    return len(changed)


def read(settings: Settings, page: str) -> tuple[bytes, str]:
    """Return a page from object storage and its media type.

    Raises ``FileNotFoundError`` when it is not there, ``minio.error.S3Error`` when the storage
    refuses.
    """
    if {"", ".", ".."} & set(page.split("/")):  # a server that keeps objects as files follows them
        raise FileNotFoundError(page)
    content = objects.read(settings, f"{PREFIX}/{page}")
    return content, mimetypes.guess_type(page)[0] or "application/octet-stream"


def missing(page: str) -> str:
    """Return a page that says that ``page`` is not there, and where to go instead."""
    return (
        _pages()
        .get_template("missing.html")
        .render(root="../" * page.count("/"), page=page, front_page=FRONT_PAGE, days=KEPT_FOR.days)
    )


@lru_cache(maxsize=1)
def content_security_policy() -> str:
    """Return the policy that browsers hold the pages to: their own script, and nothing from afar.

    Pages show what senders sent. A script that got into one all the same does not run, since the
    policy names the one that does by its digest.
    """
    script = _pages().get_template("layout.js").render()
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )


def erase(settings: Settings, users: Collection[int]) -> list[str]:
    """Delete the reports that quote people, once their rows are gone; return which.

    They are those whose findings an erasure has emptied, and those that name one of the users. The
    overviews are rewritten. Raises ``minio.error.S3Error`` when the storage refuses.
    """
    names = re.compile(rf"(?<!\w)(?:{'|'.join(map(str, users))})(?!\w)")
    store = objects.connect(settings)
    with clickhouse.connect(settings, "quality") as client, postgres.connect(settings) as ledger:
        reports = client.query(
            sql.render("clickhouse/quality/failed_reports.sql"),
            parameters={"since": datetime.now(UTC) - KEPT_FOR},
        ).result_rows
        gone = [
            report for report, is_emptied in reports
            if is_emptied or names.search(_text(settings, report))
        ]  # fmt: skip
        for report in gone:
            store.remove_object(settings.s3_bucket, f"{PREFIX}/{report}")
            (site(settings) / report).unlink(missing_ok=True)
        if gone:
            upload(settings, write_overview(settings, client, ledger))
    return gone


def _text(settings: Settings, page: str) -> str:
    """Return a page, from here or from object storage; empty if it is in neither."""
    path = site(settings) / page
    if path.exists():
        return path.read_text(encoding="utf-8")
    try:
        return read(settings, page)[0].decode()
    except FileNotFoundError:
        return ""


def forget_old(settings: Settings) -> None:
    """Delete the reports of days past their time, here and in object storage."""
    oldest = f"{datetime.now(UTC) - KEPT_FOR:%Y-%m-%d}"
    for day in (site(settings) / "reports").glob("*"):
        if day.name < oldest:
            client = objects.connect(settings)
            pages = client.list_objects(
                settings.s3_bucket, f"{PREFIX}/reports/{day.name}/", recursive=True
            )
            names = [DeleteObject(page.object_name) for page in pages if page.object_name]
            if errors := list(client.remove_objects(settings.s3_bucket, names)):
                raise RuntimeError(f"old reports cannot be deleted: {errors[0]}")
            shutil.rmtree(day)
