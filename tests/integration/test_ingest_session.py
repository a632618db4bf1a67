"""A session that ends while its worker waits: what was staged is staged again, and none is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from tests.integration import rolled_bed
from tests.integration.ingest_bed import messages
from tests.integration.rolled_bed import Rolled

from millrace.contract import publication
from millrace.ingest import model, session
from millrace.ingest.model import Batch
from millrace.ingest.warehouse import Warehouse
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Iterator[Rolled]:
    with rolled_bed.made(settings) as bed:
        yield bed


def hold_for(seconds: float, how: str, patched: pytest.MonkeyPatch) -> None:
    """Have every taker of the publication lock wait for so long, as while a rebuild holds it."""
    original = getattr(publication, how)

    @contextmanager
    def after_a_wait(connection: psycopg.Connection[Any]) -> Iterator[None]:
        time.sleep(seconds)  # a session ends by idling, and that takes real time
        with original(connection):
            yield

    patched.setattr(publication, how, after_a_wait)
    patched.setattr(session, "LIFE_SECONDS", 1)


def test_who_waits_for_the_lock_for_longer_than_a_session_lives_stages_again(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold_for(3, "shared", monkeypatch)
    bed.send(messages(range(1, 101)))

    with caplog.at_level("INFO"):
        bed.load()

    assert "is staged again" in caplog.text
    bed.assert_counted_once(messages=135, events=100)


def test_a_repeat_whose_session_ends_while_it_waits_to_make_good_loses_nothing(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "keep", after=True)
    bed.ask("UPDATE ingest_batches SET views = 'others' WHERE source_id = %s", bed.name)
    bed.alter()
    hold_for(3, "alone", monkeypatch)

    with caplog.at_level("INFO"):
        bed.drain(share, attempt=2)

    assert "is staged again" in caplog.text
    bed.assert_counted_once(messages=135, events=100)


def test_what_a_repeat_under_new_tokens_lacks_is_written_under_newer_ones(
    bed: Rolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "publish_events", after=True)
    bed.delete("events", f"source_id = '{bed.name}' AND user_id < 10")
    bed.alter()
    publish = Warehouse.publish_events

    def without_the_first(self: Warehouse, batch: Batch, *args: Any, **options: Any) -> None:
        if batch.generation > 1:
            publish(self, batch, *args, **options)

    monkeypatch.setattr(Warehouse, "publish_events", without_the_first)
    bed.drain(share, attempt=2)

    bed.assert_counted_once(messages=135, events=100)
    assert {
        row["generation"]
        for row in bed.ask("SELECT generation FROM ingest_batches WHERE source_id = %s", bed.name)
    } == {2}


def test_what_can_not_be_loaded_whole_is_told(bed: Rolled, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.send(messages(range(1, 101)))
    (share,) = bed.kill_at(Warehouse, "keep", after=True)
    monkeypatch.setattr(Warehouse, "publish_events", lambda *_args, **_options: None)
    monkeypatch.setattr(model, "PATIENT_ATTEMPTS", 3)

    bed.drain(share, attempt=2)

    (lost,) = {row["detail"] for row in bed.incidents("data_loss")}
    assert "can't be loaded whole" in lost
