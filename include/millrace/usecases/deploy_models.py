"""Deploy the dbt models, where what reads them elsewhere still finds what it names."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.exports import definitions
from millrace.quality import columns
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres
from millrace.stores.errors import first_line
from millrace.transform import deploy, project

log = logging.getLogger(__name__)

MISFITS = frozenset({8, 10, 16, 42, 43, 44, 46, 47, 53, 60, 207, 386})
"""ClickHouse's codes where a column, a table or a type is not what a statement takes it for."""


def deploy_models(
    settings: Settings,
    source: Path = project.SOURCE,
    *,
    say: Callable[[str], None] = log.info,
    is_retry: bool = True,
) -> deploy.Deployment:
    """Deploy as ``transform.deploy`` does, unless an expectation or export would miss a column.

    A model whose column is renamed builds and passes its own tests; what names it elsewhere would
    fail only once the model is live. Raises ``deploy.DeploymentError``.
    """
    return deploy.deploy(
        settings, source, say=say, is_retry=is_retry, misfits=partial(misfits, settings)
    )


def misfits(settings: Settings, standing_in: Mapping[str, str]) -> list[str]:
    """Say which expectations and exports would no longer find what they name.

    ``standing_in`` has, for a table such as ``analytics.top_pages``, the one that is to take its
    place. ClickHouse looks at their statements, as the account ``dbt``, and reads no row.
    """
    if not standing_in:
        return []
    names = re.compile(rf"\b({'|'.join(map(re.escape, standing_in))})\b")
    with postgres.connect(settings) as connection:
        asked = [*columns.asked(settings), *definitions.asked(settings, connection)]
    found = []
    with clickhouse.connect(settings, "dbt", database=clickhouse.database(settings)) as client:
        for what, statement, bound in asked:
            if not names.search(statement):
                continue
            meant = names.sub(lambda name: standing_in[name[1]], statement)
            try:
                client.query(f"DESCRIBE ({meant})", parameters=bound or None)
            except ClickHouseError as error:
                if getattr(error, "code", None) in MISFITS:
                    found.append(f"{what}: {first_line(error)}")
    return found


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
