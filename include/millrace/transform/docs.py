"""dbt's own documentation, with lineage: one page that needs no server."""

from __future__ import annotations

import shutil
from pathlib import Path

from millrace.settings import Settings
from millrace.stores import objects
from millrace.transform import project

OBJECT = "dbt/index.html"
"""Where the page is in ``settings.s3_bucket``."""


def page(settings: Settings) -> Path:
    """Return where the page lies on disk."""
    return settings.home / "dbt" / "docs" / "index.html"


def publish(settings: Settings, deployed: Path) -> str:
    """Describe what is deployed, on disk and in object storage; return both places, in words.

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
    return f"{path} and s3://{settings.s3_bucket}/{OBJECT}"
