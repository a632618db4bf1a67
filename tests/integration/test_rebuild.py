"""The rebuild of a day, on the real stack, with the rules changed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta

import pytest
from psycopg.types.json import Jsonb
from tests.integration.ingest_bed import Bed, event
from tests.integration.rebuild_bed import (
    assert_rolled_up,
    events,
    make_rollups,
    noon,
    shadows,
    today,
)

from millrace.contract.gate import Gate
from millrace.ingest import rebuild as rebuilding
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def test_a_rebuild_under_the_same_rules_changes_nothing(bed: Bed) -> None:
    make_rollups(bed)
    good = [event(user, timestamp=noon()) for user in range(1, 301)]
    yesterday = [event(user, timestamp=noon(1)) for user in range(1, 51)]
    bed.send([*good, *yesterday, b"bad", {"event": "page_view"}, *good[:20]])
    bed.load()
    before, reasons = events(bed), bed.reasons()

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert bed.reasons() == reasons
    assert report.before == report.after
    assert report.sources == {"raw_events": 372}
    bed.assert_conserved(messages=372, events=350)
    assert_rolled_up(bed)
    assert shadows(bed) == []


def test_lost_events_and_rollups_come_back(bed: Bed) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 201))
    bed.send([b"bad"])
    bed.load()
    before = events(bed)
    bed.delete("events", "source_id = {source} AND user_id % 2 = 0")
    bed.query(f"ALTER TABLE analytics_r.minutes DROP PARTITION '{today()}'")

    report = rebuilding.rebuild(bed.settings, today())

    assert events(bed) == before
    assert report.after["event"] - report.before["event"] == 100
    bed.assert_conserved(messages=201, events=200)
    assert_rolled_up(bed)


def gates(bed: Bed) -> tuple[Gate, Gate]:
    """A gate that refuses the page ``/secret``, and the bed's own."""
    (row,) = bed.ask(
        "SELECT g.definition FROM current_gates c JOIN gates g USING (gate_id) "
        "WHERE c.source_id = %s",
        bed.name,
    )
    lenient = Gate.from_json(row["definition"])
    is_secret = "JSONExtractString(value, 'page') = '/secret'"
    strict = replace(
        lenient,
        is_broken=f"({is_secret}) OR {lenient.is_broken}",
        failures=f"if({is_secret}, ['out_of_range|page|test'], {lenient.failures})",
    )
    return strict, lenient


def use_gate(bed: Bed, gate: Gate) -> None:
    bed.ask(
        "UPDATE gates SET statement = %s, definition = %s WHERE gate_id = "
        "(SELECT gate_id FROM current_gates WHERE source_id = %s)",
        gate.statement(),
        Jsonb(gate.as_json()),
        bed.name,
    )


def test_rejected_events_come_back_when_the_rules_allow_them(bed: Bed) -> None:
    """A rule that refuses a page is lifted; what it refused becomes events of their day."""
    make_rollups(bed)
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    secret = [event(user, page="/secret", timestamp=noon()) for user in range(1, 31)]
    late = [event(user, page="/secret", timestamp=noon(1)) for user in range(1, 11)]
    bed.send([*secret, *secret[:5], *late, *(event(user, timestamp=noon()) for user in (1, 2))])
    bed.load()
    assert bed.reasons()["out_of_range"] == 45
    use_gate(bed, lenient)

    report = rebuilding.rebuild(bed.settings, today())

    assert report.after["event"] - report.before["event"] == 30
    assert bed.reasons() == {"duplicate_event_id": 5, "out_of_range": 10}
    rebuilding.rebuild(bed.settings, today() - timedelta(days=1))
    assert bed.reasons() == {"duplicate_event_id": 5}
    ((rows, ids),) = bed.query(
        "SELECT count(), uniqExact(event_id) FROM events WHERE source_id = {source}"
    )
    assert (rows, ids) == (42, 42)
    assert_rolled_up(bed)

    # What came back is known to the register: a further copy is a duplicate.
    bed.send([secret[0]])
    bed.load()
    assert bed.reasons() == {"duplicate_event_id": 6}

    # And the other way: the rule is set again, and events of the day are rejected.
    use_gate(bed, strict)
    rebuilding.rebuild(bed.settings, today())
    assert bed.reasons()["out_of_range"] == 36
    ((rows,),) = bed.query("SELECT count() FROM events WHERE source_id = {source}")
    assert rows == 12
    assert_rolled_up(bed)


def test_events_that_arrive_meanwhile_survive(bed: Bed) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 101))
    bed.load()

    def load_more(step: str) -> None:
        if step == "audit":
            bed.send(event(user, timestamp=noon()) for user in range(101, 151))
            bed.send([b"bad"])
            bed.load()

    report = rebuilding.rebuild(bed.settings, today(), on_step=load_more)
    assert report.arrived_meanwhile == 50
    bed.assert_conserved(messages=151, events=150)
    assert_rolled_up(bed)


@contextmanager
def paused(bed: Bed, day: date, at: str) -> Iterator[None]:
    """Have a rebuild stand at a step; it goes on, and must succeed, afterwards."""
    entered, leave = threading.Event(), threading.Event()

    def pause(step: str) -> None:
        if step == at:
            entered.set()
            leave.wait(60)

    with ThreadPoolExecutor(1) as pool:
        rebuilt = pool.submit(rebuilding.rebuild, bed.settings, day, on_step=pause)
        try:
            assert entered.wait(60)
            yield
        finally:
            leave.set()
        rebuilt.result(60)


KILLED = """
import os, signal, datetime
from millrace.ingest import rebuild
from millrace.settings import Settings
def die(step):
    if step == {step!r}:
        os.kill(os.getpid(), signal.SIGKILL)
rebuild.rebuild(Settings(), datetime.date.fromisoformat({day!r}), on_step=die)
"""


def kill_rebuild(day: date, step: str) -> None:
    """Rebuild a day in a process of its own that dies by kill -9 at a step."""
    script = KILLED.format(step=step, day=str(day))
    died = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["reject duplicates", "register"])
def test_a_killed_rebuild_leaves_the_day_and_is_cleaned_up(bed: Bed, step: str) -> None:
    make_rollups(bed)
    bed.send(event(user, timestamp=noon()) for user in range(1, 51))
    bed.load()
    before = events(bed)
    kill_rebuild(today(), step)
    assert shadows(bed) != []
    assert events(bed) == before
    assert_rolled_up(bed)

    rebuilding.rebuild(bed.settings, today())
    assert events(bed) == before
    assert_rolled_up(bed)
    assert shadows(bed) == []


@pytest.mark.parametrize("step", ["replace events", "replace analytics_r.minutes"])
def test_a_rebuild_killed_between_two_swaps_is_healed_by_its_retry(bed: Bed, step: str) -> None:
    """Late messages are the hard case: nothing but a verdict says which day they belong to."""
    make_rollups(bed)
    strict, lenient = gates(bed)
    use_gate(bed, strict)
    yesterday = today() - timedelta(days=1)
    freed = [event(user, page="/secret", timestamp=noon(1)) for user in range(1, 31)]
    kept = [event(user, timestamp=noon(1)) for user in range(1, 21)]
    bed.send([*freed, *kept, event(timestamp=noon())])
    bed.load()
    use_gate(bed, lenient)

    kill_rebuild(yesterday, step)
    rebuilding.rebuild(bed.settings, yesterday)

    bed.assert_conserved_verdicts(messages=51, events=51)
    assert_rolled_up(bed)
    assert shadows(bed) == []

    use_gate(bed, strict)
    kill_rebuild(yesterday, step)
    rebuilding.rebuild(bed.settings, yesterday)

    bed.assert_conserved_verdicts(messages=51, events=21)
    assert_rolled_up(bed)
    assert shadows(bed) == []
