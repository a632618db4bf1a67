"""The register of event ids: filled from what was published, and relieved of what is old."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client

from millrace.contract import publication, sources
from millrace.contract.sources import Source
from millrace.ingest.ledger import Ledger
from millrace.ingest.warehouse import moment
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

log = logging.getLogger(__name__)

SENTINEL = "SELECT joinGet('event_id_register', 'position', 0::UInt64)"


def instance(ledger: Ledger) -> int:
    """Return the number that the register's sentinel row must hold."""
    row = ledger.connection.execute("SELECT instance FROM ingest_register").fetchone()
    if row is None:
        raise LookupError("the table ingest_register has no row; run the migrations again")
    return int(row["instance"])


def ensure(settings: Settings, ledger: Ledger) -> int:
    """Fill the register if it was lost; return its number.

    Holds the publication lock alone while it fills, so that nobody judges by half a register.
    """
    with clickhouse.connect(settings, "loader") as client, publication.alone(ledger.connection):
        expected = instance(ledger)
        if int(str(client.command(SENTINEL))) == expected:
            return expected
        fresh = expected + 1
        since = _held_since(settings, ledger)
        _fill(client, sources.active(ledger.connection), since, fresh)
        ledger.run("register_filled", instance=fresh, horizon=since)
        return fresh


def _held_since(settings: Settings, ledger: Ledger) -> datetime:
    """Return from when on ids were held before the loss, or must have been."""
    everywhere: dict[str, list[int]] = {}
    for row in ledger.connection.execute("SELECT source_id, partition FROM ingest_positions"):
        everywhere.setdefault(row["source_id"], []).append(row["partition"])
    stored = ledger.connection.execute("SELECT horizon FROM ingest_register").fetchone()
    known = stored["horizon"] if stored else datetime.fromtimestamp(0, UTC)
    return max(known, horizon(settings, ledger, everywhere))


def _fill(client: Client, all_sources: list[Source], since: datetime, number: int) -> None:
    client.command("TRUNCATE TABLE event_id_register")
    for source in all_sources:
        statement = sql.render(
            "clickhouse/ingest/fill_register.sql",
            target=source.target_table,
            source_number=source.source_number,
        )
        client.command(
            statement, parameters={"source_id": source.source_id, "horizon": moment(since)}
        )
    held = client.command("SELECT count() FROM event_id_register")
    client.command(
        "INSERT INTO event_id_register VALUES (0, {number:UInt64}, 4294967295)",
        parameters={"number": number},
    )
    log.info("register of event ids filled: %s ids since %s (number %s)", held, since, number)


def horizon(settings: Settings, ledger: Ledger, lagging: dict[str, list[int]]) -> datetime:
    """Return the arrival time before which no id need be held.

    ``lagging`` names, per source, the partitions with messages that are not yet claimed: their
    next message may be a copy of something that arrived as long before as the window allows.
    """
    pairs = [(source, partition) for source, parts in lagging.items() for partition in parts]
    rows = ledger.run(
        "horizon",
        sources=[source for source, _ in pairs],
        partitions=[partition for _, partition in pairs],
        window_hours=settings.duplicate_window_hours,
    )
    value = rows[0]["horizon"]
    if not isinstance(value, datetime):
        raise TypeError("the ledger gave no horizon")
    return value


def expire(settings: Settings, ledger: Ledger, since: datetime) -> bool:
    """Let go of ids that arrived before ``since``, at most eight times a window.

    The register is rewritten without them in memory (about 0.15 s per million held), and judging
    waits for it; hence not at every plan. Returns whether it was done.
    """
    due = settings.duplicate_window_hours * 3600 / 8
    if not ledger.run("expire_register", horizon=since, due_seconds=due):
        return False
    with clickhouse.connect(settings, "loader") as client:
        client.command(
            "ALTER TABLE event_id_register DELETE WHERE ingested_hour < {hour:UInt32}",
            parameters={"hour": int(since.timestamp() // 3600)},
            settings={"mutations_sync": 1},
        )
    log.info("register of event ids: let go of what arrived before %s", since)
    return True
