"""The dbt project while ingest is struck: built, changed, and deployed between kill and repeat."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from millrace import waiting
from millrace.settings import Settings
from millrace.transform import deploy, project, watermark

CHANGED = ("models/marts/metrics/metrics_1min.sql", "models/marts/metrics/page_views_1min.sql")
"""Rollups that hang on ``events``: a deployment of them replaces every view of ingest."""


class Models:
    """The project of a stack that is struck; its copy is changed in turn."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.deployments = 0

    def start(self) -> None:
        """Deploy the project as it is. Raises ``DeploymentError``."""
        deploy.deploy(self.settings)

    def deploy(self) -> str:
        """Deploy the project with a comment more, so that every rollup is built again.

        A deployment may refuse, as it does where a test looks at a half published micro-batch.
        """
        source = self.settings.home / "dbt" / "chaos"
        project.copy(project.SOURCE, source)
        self.deployments += 1
        for name in CHANGED:
            _append(source / name, f"-- deployment {self.deployments}\n")
        try:
            done = deploy.deploy(self.settings, source)
        except deploy.DeploymentError as error:
            return f"not deployed: {' '.join(str(error).split())[:200]}"
        return f"deployed {len(done.built)} models"

    def build(self) -> str:
        """Build every model of what is deployed, as ``build_models`` does."""
        watermark.record_published_through(self.settings)
        deployed = project.deployed(self.settings)
        variables = project.environment(self.settings, project.PRODUCTION, project=deployed)
        began = time.monotonic()
        project.run(["run"], variables)
        return f"built the models in {time.monotonic() - began:.0f} s"

    def build_up_to(self, moment: datetime, seconds: float) -> None:
        """Build the models once all that was claimed until ``moment`` is published.

        Raises ``TimeoutError`` when it is not after ``seconds``.
        """
        waiting.until(
            lambda: watermark.record_published_through(self.settings) >= moment,
            "the ledger to vouch for all that was claimed",
            seconds=seconds,
            every=1,
            hint="a micro-batch is open; see ./millrace ingest status",
        )
        self.build()


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
