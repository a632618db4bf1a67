"""What servers need before use, whoever runs them: topics, schemas, rules, models."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from millrace.access import keys, tokens, users
from millrace.alerts import rules as alert_rules
from millrace.contract import schema, sources
from millrace.exports import definitions as exports
from millrace.quality import publication
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
    accounts = (
        []
        if settings.is_embedded(settings.clickhouse_url, "clickhouse")
        else [Step("accounts", lambda: clickhouse.apply_accounts(settings), ("warehouse schema",))]
    )

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
        *accounts,
        Step(
            "dictionaries",
            lambda: show_metadata(settings),
            ("metadata schema", "warehouse schema", *(step.name for step in accounts)),
        ),
        Step("rules", lambda: seed_rules(settings), ("metadata schema", "warehouse schema")),
        Step("ingest key", lambda: ensure_key(settings), ("rules",)),
        Step("first admin", lambda: ensure_admin(settings), ("metadata schema",)),
        Step("report token", lambda: ensure_report_token(settings), ("metadata schema",)),
        Step("exports", lambda: exports.apply(settings), ("metadata schema",)),
        Step("alert rules", lambda: seed_alert_rules(settings), ("metadata schema",)),
    ]


def models(settings: Settings, environment: Mapping[str, str] = os.environ) -> Step:
    """Return the step that builds the dbt models once what they read is there."""
    return Step("models", lambda: deploy_apart(settings, environment), ("rules", "dictionaries"))


def make_topics(settings: Settings) -> None:
    """Create the topics of the default source."""
    kafka.ensure_topic(settings, settings.events_topic)
    largest = {"max.message.bytes": str(LARGEST_MESSAGE)}
    kafka.ensure_topic(settings, settings.dead_letter_topic, partitions=None, **largest)


def show_metadata(settings: Settings) -> None:
    """Have the warehouse read PostgreSQL where the settings say that it is, and as whom."""
    with clickhouse.connect(settings, "quality") as client:
        publication.show(settings, client, [])


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


def ensure_key(settings: Settings) -> bool:
    """Let events of the default source in with ``settings.ingest_key``, where there is one.

    Returns whether it is new. One that was rotated or revoked stays so.
    """
    text = settings.ingest_key.get_secret_value()
    if not text:
        return False
    with postgres.connect(settings) as connection:
        source = sources.default(connection, settings)
        return keys.ensure(connection, keys.NewKey("default", source.source_id), text)


def ensure_admin(settings: Settings) -> bool:
    """Add the first admin, where there is no user and a password for them; return whether it did.

    Raises ``AccessError`` when the password is a poor one.
    """
    password = settings.admin_password.get_secret_value()
    if not password:
        return False
    with postgres.connect(settings) as connection:
        return users.ensure_admin(connection, password)


def ensure_report_token(settings: Settings) -> bool:
    """Let reports ask the query API with ``settings.report_token``, where there is one.

    Returns whether it is new. One that was revoked stays so.
    """
    text = settings.report_token.get_secret_value()
    if not text:
        return False
    with postgres.connect(settings) as connection:
        return tokens.ensure(connection, tokens.NewToken("reports", "viewer"), text)


def seed_alert_rules(settings: Settings) -> None:
    """Bring in the built-in alert rules."""
    with postgres.connect(settings) as connection:
        alert_rules.seed(connection)
