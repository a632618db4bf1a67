"""Data Docs: the reports people read, on disk and in object storage, and their front page."""

from __future__ import annotations

import mimetypes
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from jinja2 import Environment, PackageLoader, select_autoescape
from psycopg.rows import DictRow

from millrace.settings import Settings
from millrace.stores import clickhouse, objects, sql

PREFIX = "data_docs"
KEPT_FOR = timedelta(days=14)
"""How long a report stays; results stay in ``quality_results`` as long as events do."""


def project(settings: Settings) -> Path:
    """Return the folder that holds Great Expectations' stores."""
    return settings.home / "quality"


def site(settings: Settings) -> Path:
    """Return the folder of the Data Docs; ``index.html`` in it is the front page."""
    return project(settings) / "site"


def open_context(settings: Settings) -> Any:
    """Open (or make) the Great Expectations project that keeps the history of reports."""
    # Read when the library is imported: it must not phone home.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    folder = project(settings)
    folder.mkdir(parents=True, exist_ok=True)
    context = gx.get_context(mode="file", project_root_dir=folder)
    context.variables.progress_bars = {"globally": False}
    context.variables.data_docs_sites = {
        "reports": {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(site(settings) / "reports"),
            },
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        }
    }
    _forget_old(settings)
    return context


def _forget_old(settings: Settings) -> None:
    """Delete reports past their time, results and pages alike."""
    oldest = f"{datetime.now(UTC) - KEPT_FOR:%Y%m%dT%H%M}Z"
    for root in (
        project(settings) / "gx" / "uncommitted" / "validations",
        site(settings) / "reports" / "validations",
    ):
        for run in root.glob("*/*"):
            if run.is_dir() and run.name < oldest:
                shutil.rmtree(run)


def page_of(identifier: Any) -> str:
    """Return a report's page, relative to the Data Docs."""
    parts = identifier.to_tuple()
    return "/".join(["reports", "validations", *parts]) + ".html"


def write_front_page(settings: Settings, connection: psycopg.Connection[DictRow]) -> Path:
    """Write the page that says in one screen what is wrong now; return its path."""
    client = clickhouse.connect(settings)
    try:
        latest = client.query(sql.render("clickhouse/quality/front_results.sql")).named_results()
        metrics = client.query(sql.render("clickhouse/quality/front_metrics.sql")).named_results()
        anomalies = client.query(sql.render("clickhouse/quality/front_anomalies.sql"))
        values = {
            "results": list(latest),
            "metrics": list(metrics),
            "anomalies": list(anomalies.named_results()),
        }
    finally:
        client.close()
    windows = connection.execute(sql.render("postgres/quality/withheld.sql")).fetchall()
    pages = Environment(loader=PackageLoader("millrace.quality"), autoescape=select_autoescape())
    text = pages.get_template("front_page.html").render(
        **values, withheld=windows, now=datetime.now(UTC)
    )
    path = site(settings) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def upload(settings: Settings) -> int:
    """Copy pages that are new or changed to object storage; return how many.

    Raises ``minio.error.S3Error`` when the storage refuses.
    """
    client = objects.connect(settings)
    root, mark = site(settings), project(settings) / "uploaded"
    since = mark.stat().st_mtime if mark.exists() else 0.0
    started = datetime.now(UTC).timestamp()
    changed = [p for p in root.rglob("*") if p.is_file() and p.stat().st_mtime >= since]
    for path in changed:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = f"{PREFIX}/{path.relative_to(root).as_posix()}"
        client.fput_object(settings.s3_bucket, name, str(path), content_type=kind)
    mark.touch()
    os.utime(mark, (started, started))
    return len(changed)
