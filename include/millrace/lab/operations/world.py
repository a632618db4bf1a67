"""The operations, each done to a real stack and to the model; and what a person would type."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from millrace import steps
from millrace.backups import metadata, warehouse
from millrace.contract import sources
from millrace.exports import service
from millrace.exports.definitions import ExportError
from millrace.ingest import rebuild
from millrace.lab import stacks, topics
from millrace.lab.operations.incidents import Incidents
from millrace.lab.operations.model import FIRST_USER, OPEN, Message, Model
from millrace.quality import audit
from millrace.rules import replay, store
from millrace.rules.model import Rule
from millrace.stack.stack import Stack
from millrace.stores import kafka, postgres
from millrace.transform import deploy, project, watermark
from millrace.usecases import erase_person, gates, restore, resume_ingest, up

LOAD_SECONDS = 90.0
HELPERS = ("backup_gateway", "wal_archiver")
NAME = "campaign_open_pages"
RULE = Rule(
    name=NAME,
    rule_type="validation",
    config={"check": "pattern", "field": "page", "pattern": f"^{OPEN}$"},
)
CHANGED = "models/marts/metrics/metrics_1min.sql"
"""The model that deployments change: it hangs on ``events``, so that each replaces views."""


def _deploy(stack_environment: dict[str, str], source: Path) -> None:
    """Deploy in a process that can be killed."""
    import os

    from millrace.settings import Settings

    os.environ.update(stack_environment)
    deploy.deploy(Settings(), source)


@dataclass
class World:
    """A stack in ``home`` and the model of it. ``typed`` is what a person would type to get there.

    ``environment`` is the stack's own; ``resources`` hold it, and are the caller's to close.
    """

    home: Path
    environment: dict[str, str]
    resources: ExitStack
    rng: random.Random
    model: Model = field(default_factory=Model)
    incidents: Incidents = field(default_factory=Incidents)
    typed: list[str] = field(default_factory=list)
    deployments: int = 0
    is_broken: bool = False
    """Whether the dbt project on disk can't be deployed."""

    def __post_init__(self) -> None:
        self._up()
        self.incidents.watch(self.settings, is_route_active=True)
        self.note("./millrace up")

    def _up(self) -> None:
        """Bring a stack up in ``home``, on ports that are free now, with ``environment``."""
        base = self.resources.enter_context(stacks.port_base())
        named = {"MILLRACE_HOME": str(self.home), "MILLRACE_PORT_BASE": str(base)}
        # They stay set: a restore finds its stack as the command does.
        self.resources.enter_context(stacks.variables({**self.environment, **named}))
        self.stack = Stack(with_airflow=False, with_apis=False)
        self.settings = self.stack.settings
        self.resources.callback(self.stack.shutdown)
        steps.run(up.steps(self.stack))
        for name in HELPERS:
            self.stack.start(name)
            self.stack.wait_healthy(name)

    def note(self, typed: str) -> None:
        """Remember what was done, and that the stack can be restored to this moment."""
        self.typed.append(typed)
        self.model.moments.append((datetime.now(UTC), self.model.is_enforced))

    def send(self, user: int, page: str, hours_ago: int, count: int) -> None:
        """Send events of one user, so many hours old, a second apart."""
        producer = kafka.producer(self.settings)
        began = datetime.now(UTC) - timedelta(hours=hours_ago, seconds=count)
        for number in range(count):
            message = Message(
                event_id=UUID(int=self.rng.getrandbits(128), version=4),
                user_id=FIRST_USER + user,
                page=page,
                time=began + timedelta(seconds=number),
                incarnation=self.model.incarnation,
            )
            event = {
                "event_id": str(message.event_id),
                "event": "page_view",
                "timestamp": message.time.isoformat(),
                "user_id": message.user_id,
                "page": page,
                "country": "DE",
                "device": "mobile",
            }
            producer.produce(
                self.settings.events_topic, json.dumps(event), key=str(message.user_id)
            )
            self.model.send(message)
        producer.flush()
        self.note(f"# {count} events of user {FIRST_USER + user} on {page}, {hours_ago} h old")

    def load(self) -> None:
        """Load all that is in Kafka."""
        gates.compile_all(self.settings)
        resume_ingest.resume(self.settings, LOAD_SECONDS)
        self.model.load()
        self.note("./millrace backups resume-ingest")

    def switch_rule(self, *, is_enforced: bool) -> None:
        """Enforce the rule that refuses one of the pages, or take it out."""

        def work(connection: store.Connection) -> None:
            if is_enforced:
                store.put_rule(connection, RULE)
            store.set_column(connection, NAME, "is_active", is_enforced)

        if is_enforced != self.model.is_enforced:
            gates.change(self.settings, work)
            self.model.is_enforced = is_enforced
        self.note(f"./millrace rules {'add rule.yaml' if is_enforced else f'disable {NAME}'}")

    def rebuild(self, days_ago: int) -> None:
        """Rebuild a day; one of which something is lost may be refused."""
        day = datetime.now(UTC).date() - timedelta(days=days_ago)
        try:
            rebuild.rebuild(self.settings, day)
        except rebuild.RebuildError:
            if not any(message.is_lost for message in self.model.messages):
                raise
        else:
            self.model.rebuild(day)
        self.note(f"./millrace airflow backfill create --dag-id rebuild_events  # {day}")

    def replay(self) -> None:
        """Replay every rejected event as it is, and load what was sent."""
        until = f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}"
        with postgres.connect(self.settings) as connection:
            source = sources.default(connection, self.settings).source_id
        number = replay.preview(self.settings, replay.Criteria(source, until=until), [])[
            "replay_id"
        ]
        self.load()
        if number is not None:
            replay.send(self.settings, number)
            self.load()
            outcomes = replay.settle(self.settings, number)
            if outcomes.get("pending"):
                raise AssertionError(f"replay {number} was sent and loaded: {outcomes}")
        self.model.replay()
        self.note("./millrace airflow dags trigger replay_rejected_events")

    def judge_alerts(self, *, is_high: bool) -> None:
        """Judge a minute in which the campaign's alert fires, or does not."""
        self.incidents.judge(self.settings, is_high=is_high)
        self.note(f"# {'an' if is_high else 'no'} alert fires")

    def switch_route(self, *, is_active: bool) -> None:
        """Switch the route of the campaign's alert on or off."""
        self.incidents.watch(self.settings, is_route_active=is_active)
        self.note(f"./millrace alerts {'enable' if is_active else 'disable'} campaign --route")

    def deploy(self, how: str) -> None:
        """Deploy the models with a change: ``well``, ``broken`` (it fails) or ``killed``."""
        source = self._changed_project
        project.copy(project.SOURCE, source)
        self.deployments += 1
        self.is_broken = how == "broken"
        text = "\nsyntax error\n" if how == "broken" else f"\n-- deployment {self.deployments}\n"
        with (source / CHANGED).open("a") as file:
            file.write(text)
        if how == "killed":
            self._deploy_and_kill(source)
        else:
            try:
                deploy.deploy(self.settings, source)
            except deploy.DeploymentError:
                if how == "well":
                    raise
            else:
                if how == "broken":
                    raise AssertionError("a broken model was deployed")
        self.note(f"./millrace dbt deploy  # {how}")

    def _deploy_and_kill(self, source: Path) -> None:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_deploy, args=(self.stack.environment, source))
        process.start()
        process.join(self.rng.uniform(2.0, 15.0))
        process.kill()
        process.join()

    @property
    def _changed_project(self) -> Path:
        return self.settings.home / "dbt" / "campaign"

    def build(self) -> None:
        """Deploy what changed, then build what is built by schedule, as ``build_models`` does."""
        source = self._changed_project if self._changed_project.exists() else project.SOURCE
        try:
            deploy.deploy(self.settings, source, is_retry=False)
        except deploy.DeploymentError:
            if not self.is_broken:
                raise
        watermark.record_published_through(self.settings)
        deployed = project.deployed(self.settings)
        project.run(
            ["run"], project.environment(self.settings, project.PRODUCTION, project=deployed)
        )
        self.note("./millrace airflow dags trigger build_models")

    def audit(self) -> None:
        """Audit every window that waits."""
        audit.audit_closed(self.settings)
        self.note("./millrace airflow dags trigger check_quality")

    def export(self) -> None:
        """Export every window that is due and was judged."""
        for window in service.due(self.settings):
            try:
                service.export(self.settings, window, "campaign")
            except ExportError:
                continue  # its gate does not let it pass yet
        self.note("./millrace airflow dags trigger export_events")

    def erase(self, user_id: int) -> None:
        """Erase a user, all of whose events are loaded."""
        began = datetime.now(UTC)
        erase_person.erase(self.settings, user_id, "campaign", "asked for it")
        self.model.erase(user_id, began, datetime.now(UTC))
        self.note(f"./millrace erase {user_id} --reason 'asked for it' --yes")

    def back_up(self) -> None:
        """Back up both stores."""
        warehouse.back_up(self.settings, "campaign")
        metadata.back_up(self.settings, "campaign")
        self.note("./millrace backups run")
        self.model.back_up(self.model.moments[-1][0])

    def restore(self, back: int) -> None:
        """Restore to the end of an operation since the first backup, ``back`` of them ago."""
        reachable = [m for m in self.model.moments if m[0] >= self.model.backups[0]]
        moment, is_enforced = reachable[-1 - back % len(reachable)]
        said: list[str] = []
        restore.run(restore.Request(to=moment, is_replace=True), said.append)
        self.model.restore(moment, is_enforced=is_enforced)
        self.model.moments = [m for m in self.model.moments if m[0] <= moment]
        self.note(f"./millrace restore --to '{moment:%Y-%m-%d %H:%M:%S.%f}' --replace")

    def remake_topic(self, partitions: int) -> None:
        """Delete the topic with all that is in it, and make it again."""
        topic = self.settings.events_topic
        topics.delete(self.settings, topic)
        kafka.ensure_topic(self.settings, topic, partitions=partitions)
        self.model.remake_topic()
        self.note(f"# topic {topic} is deleted and recreated with {partitions} partitions")

    def restart(self) -> None:
        """Stop every server in good order, or kill it, and start it again."""
        for name in ("clickhouse", "postgres", "kafka"):
            if self.rng.random() < 0.5:
                self.stack.stop(name)
                self.stack.start(name)
            else:
                pid = self.stack.pid(name)
                self.stack.kill(name)
                self.stack.wait_gone(pid)
            self.stack.wait_healthy(name)
        self.note("./millrace down; ./millrace up")

    def change_settings(self, changes: Mapping[str, str]) -> None:
        """Take the stack down, and bring it up in another folder, on other ports, with changes."""
        self.stack.shutdown()
        moved = self.home.with_name(f"home-{len(self.typed)}")
        self.home = self.home.rename(moved)
        self.environment |= changes
        self._up()
        said = " ".join(f"{name}={value}" for name, value in changes.items())
        self.note(
            f"./millrace down; mv $MILLRACE_HOME {moved.name}; "
            f"{said} MILLRACE_HOME={moved.name} MILLRACE_PORT_BASE=… ./millrace up"
        )
