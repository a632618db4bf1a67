"""Data Docs: the reports people read, on disk and in object storage, and their front page.

Pages are written from the results of checkpoints by templates of our own. Great Expectations' pages
load styles and scripts from eight other hosts, and each run of its site builder reads all results
that there are; here a run writes the pages of its own windows and two overviews.
"""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from minio.deleteobjects import DeleteObject
from psycopg.rows import DictRow

from millrace.quality import model
from millrace.quality.model import Audit
from millrace.quality.windows import Window
from millrace.settings import Settings
from millrace.stores import objects, sql

PREFIX = "data_docs"
KEPT_FOR = timedelta(days=14)
"""How long a report stays; results stay in ``quality_results`` as long as events do."""

FRONT_PAGE = "index.html"
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
    return Environment(
        loader=PackageLoader("millrace.quality"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write(settings: Settings, page: str, template: str, **values: Any) -> Path:
    path = site(settings) / page
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _pages().get_template(template).render(now=datetime.now(UTC), **values)
    path.write_text(text, encoding="utf-8")
    return path


def write_report(settings: Settings, audit: Audit) -> Path:
    """Write the page of an audit; return its path."""
    return _write(settings, audit.report, "report.html", audit=audit, root="../../")


def write_overview(
    settings: Settings, client: Client, connection: psycopg.Connection[DictRow]
) -> list[Path]:
    """Write the page that says in one screen what is wrong now, and the history; return both."""

    def rows(name: str) -> list[dict[str, Any]]:
        return list(client.query(sql.render(f"clickhouse/quality/{name}.sql")).named_results())

    windows = connection.execute(sql.render("postgres/quality/withheld.sql")).fetchall()
    audits = rows("front_audits")
    reports = {(a["dataset"], a["window_start"], a["window_end"]): a["report"] for a in audits}
    for window in windows:
        bounds = (window["window_start"], window["window_end"])
        naive = [moment.astimezone(UTC).replace(tzinfo=None) for moment in bounds]
        window["report"] = reports.get((window["dataset"], *naive), "")
    results = rows("front_results")
    for result in results:
        observed = json.loads(result["observed"] or "{}")  # an erasure may have emptied it
        result["found"] = model.short(observed, observed.get("examples", []))
    strips = [
        (kind, [(dataset, list(found)) for dataset, found in groupby(group, _dataset)])
        for kind, group in groupby(audits, lambda audit: audit["window_kind"])
    ]
    front = _write(
        settings,
        FRONT_PAGE,
        "front_page.html",
        root="",
        withheld=windows,
        results=results,
        metrics=rows("front_metrics"),
        anomalies=rows("front_anomalies"),
    )
    return [front, _write(settings, "history.html", "history.html", root="", strips=strips)]


def _dataset(audit: dict[str, Any]) -> str:
    return str(audit["dataset"])


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

    Raises ``minio.error.S3Error`` with the code ``NoSuchKey`` when it is not there.
    """
    response = objects.connect(settings).get_object(settings.s3_bucket, f"{PREFIX}/{page}")
    try:
        return response.read(), mimetypes.guess_type(page)[0] or "application/octet-stream"
    finally:
        response.close()
        response.release_conn()


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
