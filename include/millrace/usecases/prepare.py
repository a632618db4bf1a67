"""What servers need before use, whoever runs them: topics, schemas, rules, models."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from millrace.alerts import rules as alert_rules
from millrace.contract import schema, sources
from millrace.exports import definitions as exports
from millrace.rules import gate, store
from millrace.rules.gate import KeptGate
from millrace.settings import Settings
from millrace.steps import Step
from millrace.stores import clickhouse, kafka, objects, postgres
from millrace.stores.transactions import LARGEST_MESSAGE
from millrace.usecases.deploy_models import deploy_apart


def steps(settings: Settings, started_here: Collection[str] = ()) -> list[Step]:
    """Return the steps that prepare the servers that ``settings`` name; each skips what is done.

    ``started_here`` are steps that start embedded servers (``kafka``, ``s3``, ``databases``,
    ``clickhouse``), which the others wait for.
    """

    def after(*names: str) -> tuple[str, ...]:
        return tuple(name for name in names if name in started_here)

    return [
        Step("topics", lambda: make_topics(settings), after("kafka")),
        Step("buckets", lambda: objects.ensure_buckets(settings), after("s3")),
        Step("metadata schema", lambda: postgres.migrate(settings), after("databases")),
        Step(
            "warehouse schema",
            lambda: clickhouse.migrate(settings),
            after("clickhouse", "clickhouse takeover"),
        ),
        *(
            [Step("accounts", lambda: clickhouse.apply_accounts(settings), ("warehouse schema",))]
            if not settings.is_embedded(settings.clickhouse_url, "clickhouse")
            else []
        ),
        Step("rules", lambda: seed_rules(settings), ("metadata schema", "warehouse schema")),
        Step("exports", lambda: exports.apply(settings), ("metadata schema",)),
        Step("alert rules", lambda: seed_alert_rules(settings), ("metadata schema",)),
    ]


def models(settings: Settings, environment: Mapping[str, str] = os.environ) -> Step:
    """Return the step that builds the dbt models once the rules are there."""
    return Step("models", lambda: deploy_apart(settings, environment), ("rules",))


def make_topics(settings: Settings) -> None:
    """Create the topics of the default source."""
    kafka.ensure_topic(settings, settings.events_topic)
    largest = {"max.message.bytes": str(LARGEST_MESSAGE)}
    kafka.ensure_topic(settings, settings.dead_letter_topic, partitions=None, **largest)


def seed_rules(settings: Settings) -> tuple[dict[str, int], list[KeptGate]]:
    """Add the default source, event types and rules that are missing, and compile the gates.

    Tables of events get the columns of the contract that they lack first. Returns how many rows
    were added to which table, and the gates.
    """
    with postgres.connect(settings) as connection:
        added = store.seed(connection, settings)
        tables = [source.target_table for source in sources.every(connection)]
        with clickhouse.connect(settings) as client:
            schema.add_missing_columns(client, ["events", *tables], settings.clickhouse_cluster)
        return added, gate.compile_all(connection, settings)


def seed_alert_rules(settings: Settings) -> None:
    """Bring in the built-in alert rules."""
    with postgres.connect(settings) as connection:
        alert_rules.seed(connection)
