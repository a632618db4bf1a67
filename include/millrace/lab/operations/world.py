"""The operations, each done to a real stack and to the model; and what a person would type."""

from __future__ import annotations

import json
import multiprocessing
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from millrace.backups import metadata, warehouse
from millrace.exports import service
from millrace.exports.definitions import ExportError
from millrace.ingest import rebuild
from millrace.lab import topics
from millrace.lab.operations.model import FIRST_USER, OPEN, Message, Model
from millrace.quality import audit
from millrace.rules import store
from millrace.rules.model import Rule
from millrace.stack.stack import Stack
from millrace.stores import kafka
from millrace.transform import deploy, project, watermark
from millrace.usecases import erase_person, gates, restore, resume_ingest

LOAD_SECONDS = 90.0
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
    """A stack and the model of it. ``typed`` is what a person would type to get there."""

    stack: Stack
    rng: random.Random
    model: Model = field(default_factory=Model)
    typed: list[str] = field(default_factory=list)
    deployments: int = 0

    def __post_init__(self) -> None:
        self.settings = self.stack.settings
        self.note("./millrace up")

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
            self.model.messages.append(message)
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

    def deploy(self, how: str) -> None:
        """Deploy the models with a change: ``well``, ``broken`` (it fails) or ``killed``."""
        source = self.settings.home / "dbt" / "campaign"
        project.copy(project.SOURCE, source)
        self.deployments += 1
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

    def build(self) -> None:
        """Build the models that are built by schedule, as ``build_models`` does."""
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
        erase_person.erase(self.settings, user_id, "campaign", "asked for it")
        self.model.erase(user_id)
        self.note(f"./millrace backups erase {user_id} --reason 'asked for it' --yes")

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
