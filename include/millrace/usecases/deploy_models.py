"""Deploy the dbt models from a process that goes on doing other things meanwhile."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from millrace.settings import Settings
from millrace.transform import deploy


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
        deploy.deploy(Settings())
