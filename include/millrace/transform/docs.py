"""dbt's own documentation, with lineage: one page, in Airflow's menu and in files."""

from __future__ import annotations

import shutil
from pathlib import Path

from millrace.settings import Settings
from millrace.stores import objects
from millrace.transform import project

OBJECT = "dbt/index.html"
"""Where the page is in ``settings.s3_bucket``."""

SERVED_AT = "/dbt-docs"
"""Where the Airflow plugin ``millrace_data_docs`` serves the page."""

CONTENT_SECURITY_POLICY = (
    "sandbox allow-scripts allow-popups allow-modals; default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
"""What browsers hold dbt's page to.

It brings scripts of its own in the page and makes more of its templates, so scripts can't be told
apart: whatever runs has neither Airflow's login nor the network."""

MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dbt docs · Millrace</title>
<style>
:root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem }
</style>
<h1>This page is not there</h1>
<p>Each deployment of models writes dbt's documentation to <a href="/dbt-docs/">dbt docs</a>. If
that is missing too, no deployment has ended well yet: see the task <code>deploy</code> of
<code>build_models</code>, or run <code>./millrace dbt deploy</code>.</p>
"""
"""What is shown before the first deployment, and for a page that there never is."""


def page(settings: Settings) -> Path:
    """Return where the page lies on disk."""
    return settings.home / "dbt" / "docs" / "index.html"


def publish(settings: Settings, deployed: Path) -> str:
    """Describe what is deployed, on disk and in object storage; return all places, in words.

    Raises ``DbtError`` when the warehouse cannot be described, ``minio.error.S3Error`` when the
    storage refuses.
    """
    variables = project.environment(settings, project.PRODUCTION, project=deployed)
    project.run(["docs", "generate", "--static", "--target", project.PRODUCTION], variables)
    path = page(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(variables["DBT_TARGET_PATH"]) / "static_index.html", path)
    objects.connect(settings).fput_object(
        settings.s3_bucket, OBJECT, str(path), content_type="text/html"
    )
    return f"{settings.airflow_url}{SERVED_AT}/, {path} and s3://{settings.s3_bucket}/{OBJECT}"


def read(settings: Settings, name: str) -> tuple[bytes, str]:
    """Return the page, called ``index.html``, from object storage, and its media type.

    Raises ``FileNotFoundError`` for any other, and before the first deployment;
    ``minio.error.S3Error`` when the storage refuses.
    """
    if name != "index.html":
        raise FileNotFoundError(name)
    return objects.read(settings, OBJECT), "text/html"
