"""Messages that no client of ours would send: each is kept and judged alone, the others go on."""

from __future__ import annotations

import base64
import json
import logging
import os
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from tests.integration.ingest_bed import Bed, event
from tests.unit.rules import fuzz

from millrace.ingest.ledger import Ledger
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.simulate.record_batches import Connection, Record, batch, crc32c
from millrace.lab.simulate.strangers import Strangers, digest, take_any_time
from millrace.lab.verify import conservation, simulation
from millrace.rules import gate, store
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

log = logging.getLogger(__name__)

NOW_US = 1_772_359_200_000_000


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings, partitions=2)


@pytest.fixture
def broker(settings: Settings) -> Iterator[Connection]:
    connection = Connection(settings.kafka_bootstrap_servers)
    yield connection
    connection.close()


def encoded(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode()


def now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_header_names_of_any_bytes_are_kept_and_the_rest_goes_on(bed: Bed, broker: Connection):
    odd = [(b"trace\xff", b"1"), (b"trace\xff", b"\x00\xfe"), (b"", None), (b"plain", None)]
    odd += [("é".encode(), b"2"), (b"\xed\xa0\x80", b"")]
    for number in range(40):
        headers = odd if number % 7 == 0 else [(b"plain", b"x")] if number % 2 else []
        one = Record(encoded(event(number + 1)), b"k", headers, now())
        broker.produce(bed.name, number % 2, batch([one]))
    bed.send([event(n) for n in range(100, 120)])
    bed.load()
    bed.assert_conserved(messages=60, events=60)
    kept = {
        stored: int(count)
        for stored, count in bed.query(
            "SELECT headers, count() FROM raw_events WHERE source_id = {source} "
            "AND headers != '' GROUP BY headers"
        )
    }
    name = base64.b64encode(b"trace\xff").decode()
    broken = base64.b64encode(b"\xed\xa0\x80").decode()
    expected = [
        ["trace\ufffd", "MQ==", name],
        ["trace\ufffd", "AP4=", name],
        ["", None],
        ["plain", None],
        ["é", "Mg=="],
        ["\ufffd\ufffd\ufffd", "", broken],
    ]
    assert {stored: n for stored, n in kept.items() if json.loads(stored) == expected} == {
        json.dumps(expected, separators=(",", ":")): 6
    }
    assert kept['[["plain","eA=="]]'] == sum(1 for n in range(40) if n % 7 and n % 2)


def test_any_number_for_a_time_is_the_messages_own_affair(bed: Bed, broker: Connection):
    take_any_time(bed.settings, bed.name)  # retention would take those of 1970
    times = [NOW_US, 2**63 - 1, 32_503_680_000_000, 0, 1, 1_772_359_200]
    for partition, time in enumerate([*times, -1]):
        broker.produce(bed.name, partition % 2, batch([Record(encoded(event(1)), None, (), time)]))
    bed.load()
    bed.send([event(n) for n in range(1, 11)])
    bed.load()
    bed.assert_conserved_verdicts(messages=17, events=bed.count("events"))
    rows = bed.query(
        "SELECT toUnixTimestamp64Milli(kafka_timestamp) FROM raw_events "
        "WHERE source_id = {source} ORDER BY kafka_timestamp"
    )
    latest = 10_413_791_999_999
    stored = [int(time) for (time,) in rows]
    assert [time for time in stored if time <= 1_772_359_200] == [0, 0, 1, 1_772_359_200]
    assert stored[-3:] == [latest, latest, latest]
    reached = bed.ask(
        "SELECT count(*) AS n FROM ingest_positions WHERE source_id = %s AND reached_at > now()",
        bed.name,
    )
    assert reached == [{"n": 0}]


@pytest.mark.parametrize("seed", [20261128])
def test_whatever_strangers_write_is_conserved(settings: Settings, seed: int):
    """``STRANGERS=1000000`` (with ``--timeout 7200``) tries so many instead of 20,000."""
    count = int(os.environ.get("STRANGERS", "20000"))
    bed = Bed(settings, partitions=4)
    anything = str(2**63 - 1)
    bed.set_topic(message_timestamp_before_max_ms=anything, message_timestamp_after_max_ms=anything)
    name = f"{bed.name}_not_too_old"
    kept = Rule(name, "validation", {"check": "max_age"}, source_id=bed.name)
    with postgres.connect(settings) as connection, store.change(connection):
        store.put_rule(connection, kept)
        gate.compile_gate(connection, settings, bed.name)
    strangers = Strangers(settings, bed.name, seed, foreign=fuzz.message)
    strangers.write(count // 2)
    bed.load()
    strangers.write(count - count // 2)
    bed.load()
    # Once Kafka has deleted them, nobody can tell control records from messages.
    report = conservation.verify(settings, topics=[bed.name], wait_seconds=30)
    found = [(check.name, one) for check in report.checks for one in check.differences]
    assert found == []

    # Retention takes what was loaded in one partition, and some of what was not in another.
    loaded = bed.query(
        "SELECT partition, max(offset) FROM raw_events WHERE source_id = {source} "
        "GROUP BY partition ORDER BY partition"
    )
    ends = {partition: int(last) + 1 for partition, last in loaded}
    assert sorted(ends) == [0, 1, 2, 3]
    strangers.write(2_000)
    bed.delete_before({0: ends[0] // 2})
    until = ends[1] + 37
    bed.delete_before({1: until})
    gone = {(1, offset) for offset in range(ends[1], until)} & strangers.sent.keys()
    assert gone
    bed.load()
    strangers.close()

    expected = {place: mark for place, mark in strangers.sent.items() if place not in gone}
    assert len(strangers.sent) >= count + 2_000
    assert kept_messages(bed) == expected
    verdicts = bed.query(
        "SELECT partition, offset, 1 FROM events WHERE source_id = {source} UNION ALL "
        "SELECT partition, offset, 0 FROM rejected_events WHERE source_id = {source}"
    )
    assert sorted((partition, offset) for partition, offset, _ in verdicts) == sorted(expected)
    accepted = {(partition, offset) for partition, offset, is_event in verdicts if is_event}
    assert strangers.sound.keys() - gone <= accepted
    losses = [(row["partition"], row["next_offset"]) for row in bed.incidents("data_loss")]
    assert losses == [(1, until)]
    log.info("%s, %d events of %d", dict(strangers.kinds), len(accepted), len(expected))


def test_what_becomes_of_strangers_messages_is_what_was_foretold(settings: Settings):
    bed = Bed(settings, partitions=3)
    strangers = Strangers(settings, bed.name, seed=7)
    strangers.write(4_000)
    strangers.close()
    bed.load()
    manifest = strangers.manifest()
    assert manifest.accepted + sum(manifest.rejected.values()) == manifest.sent >= 4_000
    assert {"aborted", "committed", "gzip", "lz4", "snappy", "zstd"} <= manifest.kinds.keys()
    assert differences(settings, manifest) == {}

    # The oracle sees one byte and one user that are not as written.
    manifest.content["1"] ^= 1
    changed = next(row for row in manifest.rows if int(row[3]) > 2**53)
    changed[3] = int(changed[3]) - 1
    assert differences(settings, manifest) == {
        "events one by one": [changed[0]],
        "raw_events byte for byte": ["partition 1"],
    }


def differences(settings: Settings, manifest: Manifest) -> dict[str, list[str]]:
    """Return what is not as a manifest says, by check."""
    report = simulation.verify(manifest, settings, wait_seconds=1)
    return {
        check.name: [one.what.removeprefix("event_id ") for one in check.differences]
        for check in report.checks
        if check.differences
    }


def kept_messages(bed: Bed) -> dict[tuple[int, int], int]:
    """Return the digest of every message in ``raw_events``."""
    client = clickhouse.connect(bed.settings)
    stream = client.query_row_block_stream(
        "SELECT partition, offset, key, value, headers FROM raw_events "
        "WHERE source_id = {s:String}",
        parameters={"s": bed.name},
        column_formats={"key": "bytes", "value": "bytes", "headers": "bytes"},
    )
    with stream:
        return {
            (partition, offset): digest(key, value, stored)
            for block in stream
            for partition, offset, key, value, stored in block
        }


def name_another_codec(content: bytes) -> bytes:
    """Have a record batch say that it is packed by a codec that there is not; its sum is right."""
    checked = content[21:22] + bytes([content[22] | 7]) + content[23:]
    return content[:17] + struct.pack(">I", crc32c(checked)) + checked


def pack_badly(content: bytes) -> bytes:
    """Have a record batch hold what no codec makes; its sum is right."""
    checked = content[21:61] + bytes(len(content) - 61)
    return content[:17] + struct.pack(">I", crc32c(checked)) + checked


def spoil_batch(bed: Bed, partition: int, number: int, spoil: Callable[[bytes], bytes]) -> None:
    """Change a record batch in the broker's own file."""
    log = bed.settings.home / "kafka" / "data" / f"{bed.name}-{partition}" / f"{0:020}.log"
    with log.open("r+b") as file:
        for at in range(number + 1):
            first = file.tell()
            (size,) = struct.unpack(">8xi", file.read(12))
            file.seek(first + 12 + size if at < number else first)
        content = file.read(12 + size)
        file.seek(first)
        file.write(spoil(content))


@pytest.mark.parametrize("spoil", [name_another_codec, pack_badly])
def test_a_batch_that_cannot_be_decoded_is_told_and_passed(
    bed: Bed, broker: Connection, spoil: Callable[[bytes], bytes]
):
    for number in range(10):
        records = [Record(encoded(event(n + 1)), None, (), now()) for n in range(10)]
        broker.produce(bed.name, number % 2, batch(records, "gzip"))
    for number in (1, 2, 4):
        spoil_batch(bed, 0, number, spoil)

    bed.load()
    broker.produce(bed.name, 0, batch([Record(encoded(event(99)), None, (), now())], "zstd"))
    bed.load()

    bed.assert_conserved(messages=71, events=71)
    told = [
        (r["partition"], r["first_offset"], r["next_offset"]) for r in bed.incidents("data_loss")
    ]
    assert told == [(0, 10, 20), (0, 20, 30), (0, 40, 50)]
    assert all("can't be decoded" in row["detail"] for row in bed.incidents("data_loss"))
    report = conservation.verify(bed.settings, topics=[bed.name], wait_seconds=10)
    assert [c.name for c in report.checks if c.differences] == []


def test_a_batch_that_spoils_after_it_was_claimed_holds_nothing_back(
    bed: Bed, broker: Connection
) -> None:
    for number in range(5):
        records = [Record(encoded(event(n + 1)), None, (), now()) for n in range(10)]
        broker.produce(bed.name, number % 2, batch(records, "gzip"))
    shares = bed.kill_at(Ledger, "claim", after=True)
    spoil_batch(bed, 0, 1, pack_badly)

    for share in shares:
        bed.drain(share, attempt=2)

    bed.assert_conserved(messages=40, events=40)
    (told,) = bed.incidents("data_loss")
    assert (told["partition"], told["first_offset"], told["next_offset"]) == (0, 10, 20)
    assert "was claimed, but the record batch at offset 10 can't be decoded" in told["detail"]
    report = conservation.verify(bed.settings, topics=[bed.name], wait_seconds=10)
    assert [c.name for c in report.checks if c.differences] == []
