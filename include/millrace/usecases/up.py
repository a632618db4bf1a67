"""Bringing an embedded stack up: the order in which its servers start and what each then gets."""

from __future__ import annotations

from collections.abc import Callable

from millrace.backups import wal
from millrace.stack import airflow, connections, postgres
from millrace.stack.clickhouse import takeover
from millrace.stack.kafka import ensure_jars
from millrace.stack.stack import Stack
from millrace.steps import Step
from millrace.usecases import prepare
from millrace.usecases.first_backup import FirstBackup


def steps(stack: Stack) -> list[Step]:
    """Return the steps that bring up ``stack``; each skips what is already done."""
    settings, secrets = stack.settings, stack.secrets
    plan = [Step("supervisor", stack.configure)]
    if "kafka" in stack.servers:
        plan.append(Step("kafka jars", ensure_jars))
    for name in stack.names("store"):
        after = ("supervisor", "kafka jars") if name == "kafka" else ("supervisor",)
        plan.append(Step(name, _serve(stack, name), after))
    if takeover.is_former(settings.home / "clickhouse"):
        encrypt = lambda: takeover.run(settings, settings.home / "clickhouse")  # noqa: E731
        plan.append(Step("clickhouse takeover", encrypt, ("clickhouse",)))
    if "postgres" in stack.servers:
        create = lambda: postgres.ensure_databases(settings, secrets)  # noqa: E731
        plan.append(Step("databases", create, ("postgres",)))
    plan += prepare.steps(settings, started_here=[step.name for step in plan])
    plan += [
        Step(name, _serve(stack, name), ("ingest key", "topics")) for name in stack.names("apis")
    ]
    if stack.names("airflow"):
        plan.append(prepare.models(settings, stack.child_environment))
        plan += _airflow_steps(stack)
    return plan


def first_backup(stack: Stack, backup: FirstBackup) -> list[Step]:
    """Return the step, after ``steps``, that takes a first backup where there is none."""
    names = stack.names("backups")
    return [Step("first backup", backup.take, (*names, "models"))] if names else []


def _airflow_steps(stack: Stack) -> list[Step]:
    settings, secrets = stack.settings, stack.secrets
    ready = ("topics", "buckets", "rules", "exports", "airflow schema")

    def migrate() -> None:
        airflow.write_password(settings, secrets)
        airflow.migrate(settings, stack.child_environment)

    def make_connections_and_pools() -> None:
        with airflow.api(settings, secrets) as client:
            connections.ensure(client, settings)
            airflow.ensure_pools(client)  # after which tasks run

    def show_models() -> None:
        with airflow.api(settings, secrets) as client:
            airflow.show_models(client)

    return [
        Step("airflow schema", migrate, ("databases",)),
        *_backup_steps(stack),
        *(
            Step(name, _serve(stack, name), ready if name != "api-server" else ready[-1:])
            for name in stack.names("airflow")
        ),
        Step("connections and pools", make_connections_and_pools, ("api-server",)),
        Step("model tasks", show_models, ("models", "api-server", "dag-processor")),
    ]


def _backup_steps(stack: Stack) -> list[Step]:
    names = stack.names("backups")  # the archiver ships through the gateway
    ready = ("buckets", "metadata schema")
    serve = {name: _serve(stack, name) for name in names}
    if "wal_archiver" in serve and not stack.has_own_metadata:
        serve["wal_archiver"] = _archive(stack)
    return [Step(name, serve[name], (*ready, *names[:at])) for at, name in enumerate(names)]


def _archive(stack: Stack) -> Callable[[], None]:
    """Return what archives the log of a PostgreSQL elsewhere, or notes that it can't be."""

    def run() -> None:
        if reason := wal.refusal(stack.settings):
            stack.notes.append(
                f"PostgreSQL is not backed up, and wal_archiver not started. {reason}. Then run "
                "./millrace up again."
            )
        else:
            _serve(stack, "wal_archiver")()

    return run


def _serve(stack: Stack, name: str) -> Callable[[], None]:
    def run() -> None:
        stack.start(name)
        stack.wait_healthy(name)

    return run
