"""Bringing an embedded stack up: the order in which its servers start and what each then gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from millrace.alerts import rules as alert_rules
from millrace.exports import definitions as exports
from millrace.rules import gate, store
from millrace.stack import airflow, postgres
from millrace.stack.kafka import ensure_jars
from millrace.stack.server import StackError
from millrace.stack.stack import Stack
from millrace.stack.traffic import FirstLook, seed_profiles
from millrace.stores import clickhouse, kafka, objects
from millrace.stores import postgres as metadata
from millrace.stores.transactions import LARGEST_MESSAGE
from millrace.transform.deploy import is_deployed


@dataclass(frozen=True)
class Step:
    """A named piece of work that begins when the steps it comes ``after`` are done."""

    name: str
    run: Callable[[], object]
    after: tuple[str, ...] = ()


def steps(stack: Stack) -> list[Step]:
    """Return the steps that bring up ``stack``; each skips what is already done."""
    settings, secrets = stack.settings, stack.secrets

    def serve(name: str) -> Callable[[], None]:
        def run() -> None:
            stack.start(name)
            stack.wait_healthy(name)

        return run

    def make_topics() -> None:
        kafka.ensure_topic(settings, settings.events_topic)
        kafka.ensure_topic(
            settings,
            settings.dead_letter_topic,
            partitions=None,
            **{"max.message.bytes": str(LARGEST_MESSAGE)},
        )

    plan = [
        Step("kafka jars", ensure_jars),
        Step("supervisor", stack.configure),
        *(
            Step(name, serve(name), ("supervisor", *(["kafka jars"] if name == "kafka" else [])))
            for name in stack.names("store")
        ),
        Step("topics", make_topics, _known(stack, "kafka")),
        Step("buckets", lambda: objects.ensure_buckets(settings), _known(stack, "s3")),
    ]
    if "postgres" in stack.servers:
        plan.append(
            Step(
                "databases",
                lambda: postgres.ensure_databases(settings, secrets),
                ("postgres",),
            )
        )
    plan.append(
        Step(
            "metadata schema",
            lambda: metadata.migrate(settings),
            ("databases",) if "postgres" in stack.servers else (),
        )
    )
    if "clickhouse" in stack.servers:
        plan.append(Step("warehouse schema", lambda: clickhouse.migrate(settings), ("clickhouse",)))
    migrated = ("metadata schema", *_known(stack, "clickhouse", step="warehouse schema"))
    plan.append(Step("rules", lambda: seed_rules(stack), migrated))
    plan.append(Step("exports", lambda: exports.apply(settings), ("metadata schema",)))
    plan.append(Step("alert rules", lambda: seed_alert_rules(stack), ("metadata schema",)))
    if stack.names("airflow"):
        plan += _airflow_steps(stack, serve)
    return plan


def seed_rules(stack: Stack) -> None:
    """Add the default source, event types and rules that are missing, and compile the gates."""
    with metadata.connect(stack.settings) as connection:
        store.seed(connection, stack.settings)
        gate.compile_all(connection, stack.settings)


def seed_alert_rules(stack: Stack) -> None:
    """Bring in the built-in alert rules."""
    with metadata.connect(stack.settings) as connection:
        alert_rules.seed(connection)


def deploy_models(stack: Stack) -> None:
    """Build the dbt models in a process of their own, if they changed since the last time.

    Raises ``StackError`` with the end of what dbt said.
    """
    if is_deployed(stack.settings):
        return
    command = [sys.executable, "-m", "millrace.cli", "dbt", "deploy"]
    done = subprocess.run(
        command, env=stack.child_environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise StackError("the dbt models could not be built:\n" + "\n".join(said))


def _airflow_steps(stack: Stack, serve: Callable[[str], Callable[[], None]]) -> list[Step]:
    settings, secrets = stack.settings, stack.secrets
    ready = ("topics", "buckets", "rules", "exports", "airflow schema")

    def migrate() -> None:
        airflow.write_password(settings, secrets)
        airflow.migrate(settings, stack.child_environment)

    return [
        Step("models", lambda: deploy_models(stack), ("rules",)),
        Step("airflow schema", migrate, ("databases",)),
        *(
            Step(name, serve(name), ("airflow schema",) if name == "api-server" else ready)
            for name in stack.names("airflow")
        ),
        Step(
            "pools", lambda: airflow.ensure_pools(airflow.api(settings, secrets)), ("api-server",)
        ),
    ]


def first_look(look: FirstLook) -> list[Step]:
    """Return the steps that follow in a stack that people look at: profiles and some traffic."""
    airflow_is_up = tuple(look.stack.names("airflow"))
    return [
        Step("user profiles", lambda: seed_profiles(look.stack), ("metadata schema",)),
        Step("traffic", look.run, ("topics", "models", "user profiles", *airflow_is_up)),
    ]


def _known(stack: Stack, server: str, step: str | None = None) -> tuple[str, ...]:
    """Return the step to wait for, or nothing where the server is someone else's."""
    return (step or server,) if server in stack.servers else ()


def run(plan: list[Step], report: Callable[[str, str], None] = lambda _name, _state: None) -> None:
    """Run steps side by side, each as soon as those before it are done.

    A step stands after those that it waits for. ``report`` gets a step's name and its state,
    ``"running"``, ``"done"``, ``"failed"`` or ``"skipped"`` (one
    before it failed). Raises ``StackError``, the first one, after the steps under way have ended.
    """
    pool = ThreadPoolExecutor(max_workers=len(plan))
    futures: dict[str, Future[None]] = {}

    def perform(step: Step) -> None:
        for name in step.after:
            if futures[name].exception() is not None:
                report(step.name, "skipped")
                raise futures[name].exception()  # type: ignore[misc]
        report(step.name, "running")
        try:
            step.run()
        except StackError:
            report(step.name, "failed")
            raise
        except Exception as error:
            report(step.name, "failed")
            reason = str(error).strip() or type(error).__name__
            raise StackError(f"{step.name}: {reason}") from error
        report(step.name, "done")

    for step in plan:
        futures[step.name] = pool.submit(perform, step)
    try:
        wait(futures.values())
    finally:  # an interruption does not wait for steps under way
        pool.shutdown(wait=False, cancel_futures=True)
    for future in futures.values():
        future.result()
