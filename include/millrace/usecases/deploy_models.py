"""Deploy the dbt models where the expectations of the marts can still be asked of them."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from millrace.quality import columns
from millrace.settings import Settings
from millrace.transform import deploy, project

log = logging.getLogger(__name__)


def deploy_models(
    settings: Settings,
    source: Path = project.SOURCE,
    *,
    say: Callable[[str], None] = log.info,
    is_retry: bool = True,
) -> deploy.Deployment:
    """Deploy as ``transform.deploy`` does, unless an expectation would miss what it names.

    Raises ``deploy.DeploymentError``.
    """

    def misfits(standing_in: Mapping[str, str]) -> list[str]:
        found = columns.misfits(settings, standing_in)
        return [f"expectations of {one}" for one in found]

    return deploy.deploy(settings, source, say=say, is_retry=is_retry, misfits=misfits)


def deploy_apart(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Deploy the dbt project, if it changed since the last time, in a process of its own.

    dbt keeps its project, flags, adapters and log handlers in globals of the process and reads its
    profile from the process's environment: beside other steps' threads it would change both under
    them. ``environment`` is the new process's. Raises ``deploy.DeploymentError``.
    """
    if deploy.is_deployed(settings):
        return
    apart = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with apart as pool:
        pool.submit(_deploy, dict(environment)).result()


def _deploy(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    # The caller hears of failures through the error.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        deploy_models(Settings())
