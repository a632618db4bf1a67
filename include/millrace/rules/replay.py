"""Replay rejected events through the gate, exactly once.

A replay claims each message by its position in PostgreSQL, so no two replays send the same one,
and sends in a fixed order with its progress inside the Kafka transaction, so a retry goes on
where the last attempt stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.rules import gate, repair
from millrace.rules.dead_letters import HEADER, original_headers
from millrace.rules.model import REASONS, RuleError
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.stores.transactions import Item, Stream

PREVIEWED = 20_000
"""At most so many messages, the first, are judged for a preview."""

SHOWN = 600
"""So much of a message is shown in a preview."""

CHUNK = 1_000
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
    again by reason, and a message before and after the repair. A selection that is empty is not
    recorded: its ``replay_id`` is none. Duplicates are told only on arrival. Raises ``RuleError``
    when the criteria or the repair are wrong.
    """
    repair.check(steps)
    fixed = criteria.fixed()
    client = clickhouse.connect(settings, session_id=f"replay-{datetime.now(UTC).timestamp()}")
    try:
        with postgres.connect(settings) as connection:
            current = gate.current_gate(connection, fixed.source_id)
            if current is None:
                raise RuleError(f"source {fixed.source_id!r} has no gate; compile the rules")
            positions = _fresh(connection, client, fixed)
            found = _judge(client, current.statement, fixed, positions[:PREVIEWED], steps)
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
            row = connection.execute(
                "INSERT INTO replays (source_id, criteria, repair, preview) "
                "VALUES (%s, %s, %s, %s) RETURNING replay_id",
                [fixed.source_id, Jsonb(asdict(fixed)), Jsonb(steps), Jsonb(result)],
            ).fetchone()
    finally:
        client.close()
    assert row is not None  # noqa: S101  INSERT … RETURNING yields its row
    return {"replay_id": row["replay_id"], **result}


Position = tuple[str, int, int, int]


def _fresh(connection: Connection, client: Client, criteria: Criteria) -> list[Position]:
    """Return the positions that the criteria select and no replay has claimed, in order."""
    claimed = {
        (r["topic"], r["topic_incarnation"], r["partition"], r["offset"])
        for r in connection.execute(
            'SELECT topic, topic_incarnation, partition, "offset" FROM replayed_events '
            "WHERE source_id = %s",
            [criteria.source_id],
        )
    }
    # Claimed ones don't count towards the limit, or a second run would never get beyond it.
    wanted = asdict(criteria) | {"limit": criteria.limit + len(claimed)}
    rows = client.query(
        sql.render("clickhouse/rules/select_rejected.sql"), parameters=wanted
    ).result_rows
    selected = ((row[0], row[1], row[2], row[3]) for row in rows)
    return [place for place in selected if place not in claimed][: criteria.limit]


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
    statement: str,
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
        judged = statement.replace("FROM incoming\n", "FROM trial\n", 1)
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
        # PostgreSQL keeps no NUL in JSON.
        texts = {name: text[:SHOWN].decode(errors="replace") for name, text in made.items()}
        return {name: text.replace("\0", "\ufffd") for name, text in texts.items()}
    return {}


def describe(result: dict[str, Any]) -> str:
    """Return a preview as the Markdown that a person approves."""
    what = result["criteria"]
    where = [f"{name} `{what[name]}`" for name in ("reason", "rule") if name in what]
    lines = [
        f"**{result['selected']:,} rejected events** of source `{what['source_id']}`"
        f"{' with ' + ' and '.join(where) if where else ''}, rejected from {what['since']} (UTC) "
        f"until {what['until']}, would go through the gate again (replay {result['replay_id']}).",
        "| by the rules of now | events |\n|---|---:|\n"
        f"| **would pass** | {result['would_pass']:,} |"
        + "".join(
            f"\n| would be rejected again: `{reason}` | {count:,} |"
            for reason, count in sorted(result["would_fail"].items())
        ),
    ]
    if result["judged"] < result["selected"]:
        lines.append(f"Only the first {result['judged']:,} were judged for this preview.")
    repaired = "; ".join(json.dumps(step, ensure_ascii=False) for step in result["repair"])
    lines.append(f"Repair: {_code(repaired)}" if repaired else "Repair: none, sent as they came.")
    example = result["example"]
    if example:
        lines.append(f"For example\n\n{_block(example['before'])}")
        if example["after"] != example["before"]:
            lines.append(f"would be sent as\n\n{_block(example['after'])}")
    lines.append(
        "Approve to send them, each once. An event whose id has come meanwhile is rejected as a "
        "duplicate on arrival. Reject to send nothing; they can be selected again."
    )
    return "\n\n".join(lines)


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def _block(text: str) -> str:
    """Return text from outside as a block of code that it can't break out of."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def send(settings: Settings, replay_id: int) -> int:
    """Send an approved replay's events to their source's topic; return how many went now.

    Run again, it goes on where it stopped; once all went, it sends nothing. Raises ``RuleError``
    when there is no such replay.
    """
    stream = Stream(settings, f"millrace.replays.{replay_id}")
    client = clickhouse.connect(settings)
    try:
        with postgres.connect(settings) as connection:
            replay = _claim(connection, client, replay_id)
            topic = connection.execute(
                "SELECT topic FROM data_sources WHERE source_id = %s", [replay["source_id"]]
            ).fetchone()
            if topic is None:
                raise RuleError(f"source {replay['source_id']!r} is gone")
            place = TopicPartition(topic["topic"], 0)
            first = stream.places([place]).get((place.topic, 0), 0)
            sent = stream.send(_items(connection, client, replay, topic["topic"], first))
            connection.execute(
                "UPDATE replays SET state = 'sent' WHERE replay_id = %s AND state = 'claimed'",
                [replay_id],
            )
        return sent
    finally:
        client.close()
        stream.close()


def _claim(connection: Connection, client: Client, replay_id: int) -> dict[str, Any]:
    """Make the replay's messages its own, in order, once."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('millrace.replays'))")
        replay = connection.execute(
            "SELECT * FROM replays WHERE replay_id = %s", [replay_id]
        ).fetchone()
        if replay is None:
            raise RuleError(f"there is no replay {replay_id}")
        if replay["state"] == "previewed":
            positions = _fresh(connection, client, Criteria(**replay["criteria"]))
            with (
                connection.cursor() as cursor,
                cursor.copy(
                    "COPY replayed_events (source_id, topic, topic_incarnation, partition, "
                    '"offset", replay_id, sequence) FROM STDIN'
                ) as copy,
            ):
                for sequence, position in enumerate(positions):
                    copy.write_row([replay["source_id"], *position, replay_id, sequence])
            connection.execute(
                "UPDATE replays SET state = 'claimed' WHERE replay_id = %s", [replay_id]
            )
    return dict(replay)


def _items(
    connection: Connection, client: Client, replay: dict[str, Any], topic: str, first: int
) -> Iterator[Item]:
    """Yield the replay's messages from a place in its order on."""
    while True:
        rows = connection.execute(
            'SELECT topic, topic_incarnation, partition, "offset", sequence FROM replayed_events '
            "WHERE replay_id = %s AND sequence >= %s ORDER BY sequence LIMIT %s",
            [replay["replay_id"], first, CHUNK],
        ).fetchall()
        if not rows:
            return
        places = {
            (r["topic"], r["topic_incarnation"], r["partition"], r["offset"]): r["sequence"]
            for r in rows
        }
        found = _messages(client, replay["source_id"], list(places))
        for place, sequence in places.items():
            if place not in found:  # past its retention since it was claimed
                continue
            key, value, headers = found[place]
            kept = [h for h in original_headers(headers) if not h[0].startswith(HEADER)]
            origin = "/".join(str(part) for part in place)
            yield Item(
                topic=topic,
                partition=place[2],
                key=key or None,
                value=repair.apply(value, replay["repair"]),
                headers=[
                    *kept,
                    (f"{HEADER}replay", str(replay["replay_id"]).encode()),
                    (f"{HEADER}origin", origin.encode()),
                ],
                place=TopicPartition(topic, 0, sequence + 1),
            )
        first = rows[-1]["sequence"] + 1


def settle(settings: Settings, replay_id: int) -> dict[str, int]:
    """Mark what became of the replayed events as far as they were judged.

    Returns counts by outcome (``accepted`` or a reason), with ``pending`` for the rest.
    """
    client = clickhouse.connect(settings)
    try:
        with postgres.connect(settings) as connection:
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
                    "name": f"{HEADER}replay",
                    "origin": f"{HEADER}origin",
                },
            ).result_rows
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE replayed_events SET outcome = %s WHERE replay_id = %s "
                    "AND topic = %s AND topic_incarnation = %s AND partition = %s "
                    'AND "offset" = %s AND outcome IS NULL',
                    [(outcome, replay_id, *origin.rsplit("/", 3)) for origin, outcome in rows],
                )
            counts = connection.execute(
                "SELECT coalesce(outcome, 'pending') AS outcome, count(*) AS events "
                "FROM replayed_events WHERE replay_id = %s GROUP BY 1",
                [replay_id],
            ).fetchall()
            found = {row["outcome"]: row["events"] for row in counts}
            if not found.get("pending"):
                connection.execute(
                    "UPDATE replays SET state = 'settled' WHERE replay_id = %s AND state = 'sent'",
                    [replay_id],
                )
    finally:
        client.close()
    return found
