"""The dbt project and how dbt is run on it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace.settings import REPOSITORY, Settings

SOURCE = REPOSITORY / "dbt"
"""The project that people edit."""

PRODUCTION = "analytics"
SHADOW = "analytics_shadow"
SANDBOX = "sandbox"
LEFT_OUT = {"target", "logs", "dbt_packages"}


class DbtError(RuntimeError):
    """A dbt command failed; the message has dbt's own reasons."""


def profile(settings: Settings, target: str) -> dict[str, str]:
    """Return the variables that ``dbt/profiles.yml`` and the sources read, for a target."""
    # what follows is imported where it is needed: every task of build_models reads this module
    from millrace.stores import clickhouse

    url = urlsplit(settings.clickhouse_url)
    user, password = clickhouse.credentials(settings, "dbt")
    sandbox = sandbox_database()
    return {
        # Given to every command alike, since dbt parses everything again for one that is not.
        "DBT_PROFILE": "millrace",
        "DBT_TARGET": target,
        "MILLRACE_DBT_HOST": url.hostname or "127.0.0.1",
        "MILLRACE_DBT_PORT": str(url.port or 8123),
        "MILLRACE_DBT_SECURE": str(url.scheme == "https"),
        "MILLRACE_DBT_USER": user,
        "DBT_ENV_SECRET_CLICKHOUSE_PASSWORD": password,
        "MILLRACE_DBT_CLUSTER": settings.clickhouse_cluster,
        "MILLRACE_DBT_EVENTS_RETENTION_DAYS": str(settings.events_retention_days),
        "MILLRACE_DBT_SANDBOX": sandbox,
        "MILLRACE_DBT_SOURCES": sandbox if target == SANDBOX else clickhouse.database(settings),
    }


def deployed(settings: Settings) -> Path:
    """Return where the deployed copy of the project lies, with its manifest in ``target/``."""
    return settings.home / "dbt" / "deployed"


def environment(settings: Settings, target: str, *, project: Path = SOURCE) -> dict[str, str]:
    """Return everything dbt needs to run ``project`` against ``target``.

    What dbt writes (parsed state, compiled SQL, logs) goes to Millrace's home, a folder per target,
    so that targets do not undo each other's parsing.
    """
    state = settings.home / "dbt" / target
    return profile(settings, target) | {
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(state / "target"),
        "DBT_LOG_PATH": str(state / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def run(arguments: Sequence[str], variables: Mapping[str, str]) -> Any:
    """Run a dbt command in this process and return dbt's result.

    Raises ``DbtError`` when it does not succeed, naming each model or test that failed.
    """
    from dbt.cli.main import dbtRunner

    _forget_databases()
    # What dbt prints is in its log; the caller hears of failures through the error.
    with _environment(variables), redirect_stdout(StringIO()):
        outcome = dbtRunner().invoke(["--quiet", *arguments])
    if outcome.success:
        return outcome.result
    failures = [
        f"{result.node.name}: {' '.join((result.message or str(result.status)).split())}"
        for result in getattr(outcome.result, "results", [])
        if result.status not in ("success", "pass", "warn", "skipped", "no-op")
    ]
    reasons = failures or [str(outcome.exception or "dbt did not say why")]
    raise DbtError(f"dbt {arguments[0]} failed:\n  " + "\n  ".join(reasons))


def _forget_databases() -> None:
    """Have dbt-clickhouse look again which databases are there.

    It keeps, for as long as the process lives, which ones it has seen on any server, and would not
    make one that was dropped since or that another server lacks. That came with its option
    ``reuse_connections`` (https://github.com/ClickHouse/dbt-clickhouse/pull/670), and only dbt's
    own DROP forgets a name again. Where the cache is gone, so is what this is for.
    """
    from dbt.adapters.clickhouse import dbclient

    getattr(dbclient, "_ensured_databases", set()).clear()


def pass_through(settings: Settings, arguments: Sequence[str], target: str) -> int:
    """Run dbt with the caller's arguments, output and terminal; return its exit code.

    In this process, since starting another Python would take longer than building a small model.
    """
    from dbt.cli.main import cli

    try:
        with _environment(environment(settings, target)):
            cli.main(args=list(arguments), prog_name="./millrace dbt")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    return 0


def lint(settings: Settings, arguments: Sequence[str]) -> int:
    """Run ``sqlfluff lint`` on models, all of them unless some are named; return its exit code.

    It looks at the SQL that dbt makes of a model for production, and asks the warehouse what is
    built there already, as dbt does.
    """
    variables = environment(settings, PRODUCTION)
    variables["DBT_TARGET_PATH"] += "_lint"  # dbt parses otherwise for it
    command = [sys.executable, "-m", "sqlfluff", "lint", "--config", str(SOURCE / ".sqlfluff")]
    names = arguments or [str(SOURCE / "models")]
    return subprocess.run([*command, *names], env=os.environ | variables, check=False).returncode


def sandbox_database() -> str:
    """Return the database of the caller's own sandbox: ``analytics_dev_<user>``."""
    from millrace.stores import postgres

    user = re.sub(r"\W", "_", postgres.login().lower())
    return f"analytics_dev_{user}"


def target_of(arguments: Sequence[str]) -> str:
    """Return the target that dbt's arguments name; the sandbox if they name none."""
    for position, argument in enumerate(arguments):
        if argument in {"--target", "-t"} and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--target="):
            return argument.split("=", 1)[1]
    return SANDBOX


def fingerprint(project: Path = SOURCE) -> str:
    """Return a digest of every file of the project, that changes when any of them does."""
    digest = hashlib.sha256()
    for path in files(project):
        digest.update(str(path.relative_to(project)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def files(project: Path) -> list[Path]:
    """Return the project's own files, without what dbt generates."""
    return sorted(
        path
        for path in project.rglob("*")
        if path.is_file() and path.relative_to(project).parts[0] not in LEFT_OUT
    )


def copy(project: Path, destination: Path) -> None:
    """Copy the project's own files to ``destination``, which is emptied first."""
    shutil.rmtree(destination, ignore_errors=True)
    for path in files(project):
        target = destination / path.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
