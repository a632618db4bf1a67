"""Replay rejected events through the gate, exactly once.

A replay claims each message by its position in PostgreSQL, so no two replays send the same one,
and sends in a fixed order with its progress inside the Kafka transaction, so a retry goes on
where the last attempt stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import locks, sources
from millrace.contract.errors import RuleError
from millrace.contract.failures import REASONS
from millrace.contract.gate import Gate
from millrace.rules import gate, repair, selection
from millrace.rules.selection import Position
from millrace.settings import Settings
from millrace.stores import clickhouse, headers, kafka, postgres, sql
from millrace.stores.transactions import BY_KEY, Item, Stream

log = logging.getLogger(__name__)

PREVIEWED = 20_000
"""At most so many messages, the first, are judged for a preview."""

SHOWN = 600
"""So much of a message is shown in a preview."""

CHUNK = 1_000

STREAM = "millrace.replays."
"""Before a replay's number: the name under which Kafka keeps how far it came."""

HEADER_REPLAY, HEADER_ORIGIN = f"{headers.PREFIX}replay", f"{headers.PREFIX}origin"
"""Say which replay sent a message, and where it was rejected."""

EXPIRED, REFUSED = "expired", "refused"
"""Outcomes of messages that were not sent: retention took them, or Kafka did not take them (these
may be selected again)."""

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True)
class Criteria:
    """Which rejected events. Empty fields do not narrow; ``since`` and ``until`` are UTC."""

    source_id: str
    reason: str = ""
    rule: str = ""
    since: str = "1970-01-01 00:00:00"
    until: str = ""
    limit: int = 1_000_000

    def fixed(self) -> Criteria:
        """Return the criteria with their end fixed. Raises ``RuleError`` where they are wrong."""
        if self.reason and self.reason not in REASONS:
            raise RuleError(f"reason is {self.reason!r}, must be one of {', '.join(REASONS)}")
        until = self.until or f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        return Criteria(**{**asdict(self), "until": until})


def preview(settings: Settings, criteria: Criteria, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Judge what a replay would send, and record it as a replay that waits for approval.

    Returns the replay's number, how many were selected and judged, how many would pass or fail
    again by reason, and a message before and after the repair. What is selected is recorded message
    by message: it, and nothing that comes later, is what is sent once it is approved. An empty
    selection is not recorded: its ``replay_id`` is none. Duplicates are told only on arrival.
    Raises ``RuleError`` when the criteria or the repair are wrong.
    """
    repair.check(steps)
    fixed = criteria.fixed()
    with (
        clickhouse.connect(
            settings, "loader", session_id=f"replay-{datetime.now(UTC).timestamp()}"
        ) as client,
        postgres.connect(settings) as connection,
    ):
        current = gate.current_gate(connection, fixed.source_id)
        if current is None:
            raise RuleError(f"source {fixed.source_id!r} has no gate; compile the rules")
        positions = selection.unclaimed(connection, client, asdict(fixed), REFUSED)
        found = _judge(client, current.gate, fixed, positions[:PREVIEWED], steps)
        result: dict[str, Any] = {
            "criteria": {name: value for name, value in asdict(fixed).items() if value},
            "repair": steps,
            "selected": len(positions),
            "judged": sum(found.values()),
            "would_pass": found.pop("", 0),
            "would_fail": found,
            "example": _example(client, fixed.source_id, positions, steps),
        }
        if not positions:
            return {"replay_id": None, **result}
        replay_id = _record(connection, fixed, steps, result, positions)
    return {"replay_id": replay_id, **result}


def _record(
    connection: Connection,
    criteria: Criteria,
    steps: list[dict[str, Any]],
    result: dict[str, Any],
    positions: list[Position],
) -> int:
    """Record a preview with its selection; forget the selections of those nobody approved."""
    with connection.transaction():
        connection.execute(sql.render("postgres/rules/forget_previews.sql"))
        row = postgres.one(
            connection.execute(
                sql.render("postgres/rules/put_replay.sql"),
                {
                    "source_id": criteria.source_id,
                    "criteria": Jsonb(asdict(criteria)),
                    "repair": Jsonb(steps),
                    "preview": Jsonb(result),
                },
            )
        )
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY previewed_events (replay_id, sequence, topic, topic_incarnation, partition, "
                '"offset") FROM STDIN'
            ) as copy,
        ):
            for sequence, position in enumerate(positions):
                copy.write_row([row["replay_id"], sequence, *position])
    return int(row["replay_id"])


def _messages(client: Client, source_id: str, chunk: list[Position]) -> dict[Position, Any]:
    """Return the rejected messages at positions: key, value, headers."""
    rows = client.query(
        sql.render("clickhouse/rules/rejected_messages.sql"),
        parameters={"source_id": source_id, "positions": chunk},
        column_formats={"key": "bytes", "value": "bytes"},
    ).result_rows
    return {(r[0], r[1], r[2], r[3]): r[4:] for r in rows}


def _judge(
    client: Client,
    compiled: Gate,
    criteria: Criteria,
    positions: list[Position],
    steps: list[dict[str, Any]],
) -> dict[str, int]:
    """Put messages through the gate as if they came now; count by first reason ('' passes)."""
    counts: dict[str, int] = {}
    client.command(sql.render("clickhouse/rules/trial_table.sql"))
    now = datetime.now(UTC)
    for first in range(0, len(positions), CHUNK):
        chunk = positions[first : first + CHUNK]
        found = _messages(client, criteria.source_id, chunk)
        rows = [
            [*place, now, key, repair.apply(value, steps), headers]
            for place, (key, value, headers) in found.items()
        ]
        client.command("TRUNCATE TABLE trial")
        client.insert("trial", rows)
        judged = compiled.statement("trial", claimed_at="kafka_timestamp")
        query = sql.render("clickhouse/rules/count_verdicts.sql", statement=judged)
        for reason, count in client.query(query).result_rows:
            counts[reason] = counts.get(reason, 0) + count
    return counts


def _example(
    client: Client, source_id: str, positions: list[Position], steps: list[dict[str, Any]]
) -> dict[str, str]:
    """Return the first message as it is and as it would be sent, cut; empty where there is none."""
    for _, value, _ in _messages(client, source_id, positions[:1]).values():
        made = {"before": value, "after": repair.apply(value, steps)}
        return {name: text[:SHOWN].decode(errors="replace") for name, text in made.items()}
    return {}


def send(settings: Settings, replay_id: int) -> int:
    """Send an approved replay's events to their source's topic; return how many went now.

    Run again, it goes on where it stopped; once all went, it sends nothing. Raises ``RuleError``
    when there is no such replay.
    """
    with (
        closing(Stream(settings, f"{STREAM}{replay_id}")) as stream,
        clickhouse.connect(settings, "loader") as client,
        postgres.connect(settings) as connection,
    ):
        replay = _claim(connection, replay_id)
        source = sources.find(connection, replay["source_id"])
        if source is None:
            raise RuleError(f"source {replay['source_id']!r} is gone")
        place = TopicPartition(source.topic, 0)
        first = stream.places([place]).get((place.topic, 0), 0)
        sent = stream.send(
            _items(connection, client, replay, source.topic, first),
            lambda item, reason: _say_refused(connection, replay_id, item, reason),
        )
        connection.execute(
            "UPDATE replays SET state = 'sent' WHERE replay_id = %s AND state = 'claimed'",
            [replay_id],
        )
    return sent


def _claim(connection: Connection, replay_id: int) -> dict[str, Any]:
    """Make the approved messages the replay's own, once, but for those that another has sent."""
    with connection.transaction():
        locks.until_commit(connection, locks.REPLAYS)
        replay = connection.execute(
            "SELECT * FROM replays WHERE replay_id = %s", [replay_id]
        ).fetchone()
        if replay is None:
            raise RuleError(f"there is no replay {replay_id}")
        if replay["state"] == "previewed":
            values = {"replay_id": replay_id, "refused": REFUSED}
            connection.execute(sql.render("postgres/rules/claim_replay.sql"), values)
            forgotten = connection.execute(
                "DELETE FROM previewed_events WHERE replay_id = %s", [replay_id]
            )
            if not forgotten.rowcount:
                raise RuleError(f"replay {replay_id}: its selection is not kept; preview it again")
            connection.execute(
                "UPDATE replays SET state = 'claimed' WHERE replay_id = %s", [replay_id]
            )
    return dict(replay)


def _say_refused(connection: Connection, replay_id: int, item: Item, reason: str) -> None:
    """Note that Kafka did not take a message; it is left in ``rejected_events``."""
    log.error("%s does not take a message of replay %d: %s", item.topic, replay_id, reason)
    _note_outcome(connection, replay_id, [item.place.offset - 1], REFUSED, reason)


def _note_outcome(
    connection: Connection, replay_id: int, sequences: list[int], outcome: str, detail: str
) -> None:
    connection.execute(
        sql.render("postgres/rules/note_outcome.sql"),
        {
            "replay_id": replay_id,
            "sequences": sequences,
            "outcome": outcome,
            "detail": detail,
        },
    )


def _items(
    connection: Connection, client: Client, replay: dict[str, Any], topic: str, first: int
) -> Iterator[Item]:
    """Yield the replay's messages from a place in its order on.

    Each goes to the partition that its key has now: the topic may have others than when it came.
    """
    while True:
        rows = connection.execute(
            sql.render("postgres/rules/replayed_messages.sql"),
            {"replay_id": replay["replay_id"], "first": first, "limit": CHUNK},
        ).fetchall()
        if not rows:
            return
        places = {
            (r["topic"], r["topic_incarnation"], r["partition"], r["offset"]): r["sequence"]
            for r in rows
        }
        found = _messages(client, replay["source_id"], list(places))
        gone = [sequence for place, sequence in places.items() if place not in found]
        if gone:
            detail = "rejected_events no longer has it"
            _note_outcome(connection, replay["replay_id"], gone, EXPIRED, detail)
        for place, sequence in places.items():
            if place not in found:
                continue
            key, value, stored = found[place]
            origin = "/".join(str(part) for part in place)
            yield Item(
                topic=topic,
                partition=BY_KEY,
                key=key or None,
                value=repair.apply(value, replay["repair"]),
                headers=[
                    *headers.sendable(_own_headers(stored)),
                    (HEADER_REPLAY, str(replay["replay_id"]).encode()),
                    (HEADER_ORIGIN, origin.encode()),
                ],
                place=TopicPartition(topic, 0, sequence + 1),
            )
        first = rows[-1]["sequence"] + 1


def _own_headers(stored: str) -> list[headers.Header]:
    """Return the headers that a message's producer gave it, without those of a replay before."""
    ours = headers.PREFIX.encode()
    return [
        header
        for header in headers.decode(stored)
        if not header[0].startswith(ours) or header[0] == headers.NAMES.encode()
    ]


def settle(settings: Settings, replay_id: int) -> dict[str, int]:
    """Mark what became of the replayed events as far as they were judged.

    Returns counts by outcome (``accepted``, a reason, or why it was not sent), with ``pending``
    for the rest.
    """
    with (
        clickhouse.connect(settings, "loader") as client,
        postgres.connect(settings) as connection,
    ):
        replay = connection.execute(
            "SELECT source_id, created_at FROM replays WHERE replay_id = %s", [replay_id]
        ).fetchone()
        if replay is None:
            raise RuleError(f"there is no replay {replay_id}")
        rows = client.query(
            sql.render("clickhouse/rules/replay_outcomes.sql"),
            parameters={
                "source_id": replay["source_id"],
                "since": replay["created_at"],
                "replay_id": str(replay_id),
                "name": HEADER_REPLAY,
                "origin": HEADER_ORIGIN,
            },
        ).result_rows
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                sql.render("postgres/rules/settle_outcome.sql"),
                [
                    {"outcome": outcome, "replay_id": replay_id, **_place(origin)}
                    for origin, outcome in rows
                ],
            )
        counts = connection.execute(
            sql.render("postgres/rules/count_outcomes.sql"), {"replay_id": replay_id}
        ).fetchall()
        found = {row["outcome"]: row["events"] for row in counts}
        if not found.get("pending"):
            connection.execute(
                "UPDATE replays SET state = 'settled' WHERE replay_id = %s AND state = 'sent'",
                [replay_id],
            )
    return found


def skip_numbers(settings: Settings) -> None:
    """Give no later replay the number of one that PostgreSQL forgot by a restore.

    Kafka still has that one's place, from which the later one would go on. Raises
    ``confluent_kafka.KafkaException`` when no broker answers.
    """
    client = kafka.admin(settings)  # lives until the answer is there
    groups = client.list_consumer_groups(request_timeout=kafka.ANSWER_SECONDS).result().valid
    names = [group.group_id for group in groups if group.group_id.startswith(STREAM)]
    if last := max((int(name.removeprefix(STREAM)) for name in names), default=0):
        with postgres.connect(settings) as connection:
            connection.execute(sql.render("postgres/rules/skip_replays.sql"), {"last": last})


def _place(origin: str) -> dict[str, str]:
    """Return the parts of a header that says where a message was rejected."""
    names = ("topic", "incarnation", "partition", "offset")
    return dict(zip(names, origin.rsplit("/", 3), strict=True))
