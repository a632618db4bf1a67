"""Rebuilding a day brings no copy of an event back, whatever day the copies say they are of."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.ingest_bed import Bed, event
from tests.integration.test_rebuild import gates, noon, today, use_gate

from millrace.ingest import rebuild as rebuilding
from millrace.lab.verify import conservation
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Iterator[Bed]:
    made = Bed(settings)
    yield made
    made.ask("ALTER TABLE ingest_batches ALTER claimed_at SET DEFAULT clock_timestamp()")


def count(bed: Bed) -> tuple[int, int]:
    ((rows, ids),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    return rows, ids


@pytest.mark.parametrize("days", list(itertools.permutations((0, 1, 5))))
def test_copies_of_days_apart_stay_duplicates(bed: Bed, days: tuple[int, ...]) -> None:
    ids = [str(uuid.uuid4()) for _ in range(60)]
    bed.send(
        event(user, event_id=event_id, timestamp=noon((user + copy) % 3 * 2 + (copy == 7)))
        for copy in range(8)
        for user, event_id in enumerate(ids, 1)
    )
    bed.send(
        event(user, event_id=event_id, timestamp=noon(days[user % 3]))
        for user, event_id in enumerate(ids, 1)
    )
    bed.load()
    assert count(bed) == (60, 60)

    for day in days:
        rebuilding.rebuild(bed.settings, today() - timedelta(days=day))
        assert count(bed) == (60, 60)

    bed.assert_conserved_verdicts(messages=540, events=60)
    assert bed.reasons() == {"duplicate_event_id": 480}
    report = conservation.verify(bed.settings, topics=[bed.name], wait_seconds=10)
    assert [c.name for c in report.checks if c.differences] == []


def receive(bed: Bed, hours: int, sent: dict[str, Any]) -> None:
    """Load an event as if it had come so many hours ago."""
    moment = datetime.now(UTC) - timedelta(hours=hours)
    bed.ask(f"ALTER TABLE ingest_batches ALTER claimed_at SET DEFAULT '{moment}'")
    bed.send([sent], timestamp=int(moment.timestamp() * 1000))
    bed.load()


@pytest.mark.parametrize(("hours", "events"), [(20, 1), (60, 2)])
def test_a_copy_is_one_within_the_window_of_its_receipt(bed: Bed, hours: int, events: int) -> None:
    """A rule held the second copy back; when it is lifted, the first is looked for by receipt."""
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    copy = {"event_id": str(uuid.uuid4()), "timestamp": noon(8)}
    receive(bed, hours, event(**copy))
    bed.ask("ALTER TABLE ingest_batches ALTER claimed_at SET DEFAULT clock_timestamp()")
    bed.send([event(**copy | {"timestamp": noon()}, page="/secret")])
    bed.load()
    use_gate(bed, lenient)
    assert count(bed) == (1, 1)

    rebuilding.rebuild(bed.settings, today())

    assert count(bed) == (events, 1)


def test_an_event_that_came_after_the_window_outlives_the_copies_within_it(bed: Bed) -> None:
    event_id = str(uuid.uuid4())
    receive(bed, 60, event(event_id=event_id, timestamp=noon(9)))
    receive(bed, 50, event(event_id=event_id, timestamp=noon(8)))
    assert count(bed) == (1, 1)
    bed.query("TRUNCATE TABLE event_id_register")  # as if time had let go of the id
    receive(bed, 1, event(event_id=event_id, timestamp=noon(8)))
    assert count(bed) == (2, 1)

    for day in (8, 9, 8):
        rebuilding.rebuild(bed.settings, today() - timedelta(days=day))
        assert count(bed) == (2, 1)
    assert bed.reasons() == {"duplicate_event_id": 1}
