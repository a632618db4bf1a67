"""What was acknowledged is in the warehouse once, in order; the oracle sees where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers import tiny_api
from tests.integration.delivery_bed import await_drained
from tests.integration.ingest_bed import Bed

from millrace.lab.simulate import api, faults, send
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.verify import acknowledged
from millrace.settings import Settings
from millrace.stack.stack import Stack

EVENTS = 4_000
PLAN = send.Plan(seed=5, rates=faults.rates({}), rate=0, duration=60, total=EVENTS)
ONCE = "every acknowledged event once in events"
IN_ORDER = "each user's events in the order of acknowledgement"


@pytest.fixture
def bed(settings: Settings, tmp_path: Path) -> Bed:
    return Bed(settings.model_copy(update={"home": tmp_path, "ingestion_kafka_seconds": 0.5}))


def settings_of(bed: Bed) -> Settings:
    return bed.settings.model_copy(update={"events_topic": bed.name})


def test_answers_that_are_lost_or_refused_count_nothing_twice(bed: Bed, tmp_path: Path) -> None:
    own = settings_of(bed)
    with tiny_api.serving(own, lambda n: {0: None, 1: 503}.get(n % 5, 200)) as url:
        taken = api.run(PLAN, own, url=url, key="key")
    assert taken.repeated
    assert 0 < taken.sent <= EVENTS
    assert not taken.unconfirmed
    bed.load()
    path = tmp_path / "manifest.json"
    taken.write(path)
    read = Acknowledged.read(path)
    assert read == taken
    assert acknowledged.verify(read, own, wait_seconds=5).differences == 0

    user, ids = max(read.users.items(), key=lambda one: len(one[1]))
    read.users[user] = [*ids[::-1], "00000000-0000-4000-8000-000000000001"]
    report = acknowledged.verify(read, own, wait_seconds=0)
    assert [one.what for one in report.check(ONCE).differences] == [
        "event_id 00000000-0000-4000-8000-000000000001"
    ]
    assert len(report.check(IN_ORDER).differences) == len(ids) - 1


def test_kafka_goes_away_under_a_sender(stack: Stack, bed: Bed) -> None:
    own = settings_of(bed)
    plan = send.Plan(seed=6, rates=faults.rates({}), rate=500, duration=12)
    stack.stop("kafka")
    stopped = True

    def answer(number: int) -> int | None:
        nonlocal stopped
        if stopped and number > 100:
            stopped = False
            stack.start("kafka")
        return 200 if number % 7 else None

    with tiny_api.serving(own, answer) as url:
        taken = api.run(plan, own, url=url, key="key")
    assert not stopped
    stack.wait_healthy("kafka")
    with tiny_api.serving(own, answer):
        await_drained(own)
    bed.load()
    report = acknowledged.verify(taken, own, wait_seconds=10)
    assert report.differences == 0, report
    assert taken.sent > 1_000


def test_a_refusal_ends_the_run(bed: Bed) -> None:
    own = settings_of(bed)
    with (
        tiny_api.serving(own, lambda _: 401) as url,
        pytest.raises(api.RefusedError, match="401"),
    ):
        api.run(PLAN, own, url=url, key="wrong")


def test_a_manifest_of_kafka_is_none_of_the_api(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    Manifest("run", 1, "events", "id", "2026-01-01T00:00:00.000Z").write(path)
    assert Acknowledged.read(path) is None
