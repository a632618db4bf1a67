"""Simulated traffic: the same again by seed, and counted as it is."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from millrace.lab.simulate import faults, send
from millrace.lab.simulate.manifest import Manifest, Tally
from millrace.lab.simulate.traffic import Chunk, Traffic, chunks
from millrace.settings import Settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def traffic(seed: int = 7, **rates: float) -> Traffic:
    chosen = faults.rates(rates, with_defaults=not rates)
    return Traffic(seed, "test", chosen, message_max_bytes=10_000, retention_days=90)


def made(source: Traffic, total: int = 20_000) -> list[Chunk]:
    return list(chunks(source, START, 600, total, 1000, sent_at=START))


def test_a_seed_repeats_every_byte_and_another_seed_does_not() -> None:
    once, again, other = made(traffic()), made(traffic()), made(traffic(seed=8))
    assert [(c.keys, c.values) for c in once] == [(c.keys, c.values) for c in again]
    assert once[0].values[:10] != other[0].values[:10]


def test_sound_events_are_counted_by_minute_country_device_and_type() -> None:
    source = made(traffic(late=0.1, odd_spelling=0.02, quoted_number=0.02))
    counted: Counter[tuple[int, str, str, str]] = Counter()
    for value in [value for chunk in source for value in chunk.values]:
        event = orjson.loads(value or b"")
        assert uuid.UUID(event["event_id"]).version == 4
        minute = int(datetime.fromisoformat(event["timestamp"]).timestamp() // 60)
        counted[minute, event["country"], event["device"], event["event"]] += 1
    expected: Counter[tuple[int, str, str, str]] = Counter()
    for chunk in source:
        expected.update(chunk.counts)
    assert counted == expected
    assert counted.total() == 20_000


def test_every_message_is_expected_either_as_event_or_with_a_reason() -> None:
    for chunk in made(traffic()):
        assert chunk.counts.total() + chunk.rejected.total() == len(chunk.values)
        assert len(chunk.keys) == len(chunk.values)


def test_the_events_to_be_accepted_are_the_ones_that_are_counted() -> None:
    for chunk in made(traffic()):
        counted: Counter[tuple[int, str, str, str]] = Counter()
        for value in chunk.accepted():
            event = orjson.loads(value)
            minute = int(datetime.fromisoformat(event["timestamp"]).timestamp() // 60)
            counted[minute, event["country"], event["device"], event["event"]] += 1
        assert counted == chunk.counts


@pytest.mark.parametrize("kind", [kind for kind, fault in faults.FAULTS.items() if fault.reason])
def test_a_fault_kind_alone_yields_its_reason_alone(kind: str) -> None:
    source = made(traffic(**{kind: 1.0}), total=1000)
    reasons = sum((chunk.rejected for chunk in source), Counter())
    assert reasons == {faults.FAULTS[kind].reason: 1000}
    assert not any(chunk.counts for chunk in source)


def test_malformed_messages_are_no_json_object() -> None:
    source = made(traffic(malformed=0.6, binary=0.2, not_utf8=0.2), total=3000)
    for value in [value for chunk in source for value in chunk.values]:
        try:
            assert not isinstance(orjson.loads(value or b""), dict)
        except orjson.JSONDecodeError:
            continue


def test_a_duplicate_repeats_the_bytes_of_an_earlier_event() -> None:
    source = made(traffic(duplicate=0.2))
    values = Counter(value for chunk in source for value in chunk.values)
    copies = sum(count - 1 for count in values.values())
    assert copies == sum(chunk.rejected["duplicate_event_id"] for chunk in source)
    keys: dict[bytes | None, set[bytes]] = {}
    for chunk in source:
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            keys.setdefault(value, set()).add(key)
    assert any(len(several) > 1 for several in keys.values()), "some go to another partition"


def test_unknown_kinds_and_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="no fault kind 'gremlins'"):
        faults.rates({"gremlins": 0.1})
    with pytest.raises(ValueError, match="between 0 and 1"):
        faults.rates({"late": 1.5})
    with pytest.raises(ValueError, match="add up to more than 1"):
        faults.rates({"late": 0.6, "empty": 0.6})


def test_a_start_that_retention_would_swallow_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    old = datetime.now(UTC) - timedelta(days=settings.events_retention_days)
    plan = send.Plan(seed=1, rates=faults.rates({}), rate=10, duration=10, start=old)
    with pytest.raises(ValueError, match="MILLRACE_EVENTS_RETENTION_DAYS"):
        plan.check(settings)


def test_offsets_are_kept_as_ranges_even_beside_another_producer() -> None:
    tally = Tally()
    for partition, offset in [(0, 5), (0, 6), (1, 9), (0, 7), (0, 20), (0, 21), (1, 10)]:
        tally.delivered(partition, offset)
    assert tally.positions == {0: [[5, 8], [20, 22]], 1: [[9, 11]]}
    assert tally.acknowledged == 7


def test_a_file_holds_every_message_and_its_manifest_reads_back(tmp_path: Path) -> None:
    plan = send.Plan(seed=3, rates=faults.rates({}), rate=0, duration=1, total=3000)
    file = tmp_path / "traffic.ndjson"
    manifest = send.run(plan, Settings(home=tmp_path), topic="unused", file=file)
    lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    sizes = [len(base64.b64decode(line["value"])) for line in lines if line["value"] is not None]
    assert (len(lines), sum(sizes)) == (manifest.sent, manifest.bytes_sent)
    assert manifest.accepted + sum(manifest.rejected.values()) == manifest.sent == 3000
    manifest.write(tmp_path / "m.json")
    assert Manifest.read(tmp_path / "m.json") == manifest


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"hello": 1}')
    with pytest.raises(ValueError, match="is no simulation manifest"):
        Manifest.read(tmp_path / "x.json")
