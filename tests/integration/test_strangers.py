"""Messages that no client of ours would send: each is kept and judged alone, the others go on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.helpers.record_batches import Connection, Record, batch
from tests.integration.ingest_bed import Bed, event

from millrace.settings import Settings

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
    anything = str(2**63 - 1)
    bed.set_topic(message_timestamp_before_max_ms=anything, message_timestamp_after_max_ms=anything)
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
