"""Tell Airflow when the dbt project's files changed, so that `build_models` deploys them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

PERIOD_SECONDS = 10


class ProjectChanged(BaseEventTrigger):
    """Fires once for each state of the project that is neither deployed nor still being edited.

    A state counts when its files stood still for ``seconds``.
    """

    def __init__(self, seconds: float = PERIOD_SECONDS) -> None:
        super().__init__()
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return where the class is, and its arguments."""
        return "millrace_dbt_project.ProjectChanged", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the files for as long as the triggerer runs."""
        from millrace.settings import Settings
        from millrace.transform import project

        deployed = project.deployed(Settings())
        before = told = ""
        while True:
            now = await asyncio.to_thread(project.fingerprint, project.SOURCE)
            if now == before and now != told:
                told = now
                if now != await asyncio.to_thread(project.fingerprint, deployed):
                    yield TriggerEvent({"fingerprint": now})
            before = now
            await asyncio.sleep(self.seconds)


PROJECT = Asset("dbt_project", watchers=[AssetWatcher(name="files", trigger=ProjectChanged())])
