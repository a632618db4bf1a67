"""``./millrace tail``: what was loaded and why what was rejected is, and nobody's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.ingest_bed import Bed, event
from typer.testing import CliRunner

from millrace.cli.main import app
from millrace.contract import sources
from millrace.ingest.judged import REDACTED, Judged
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


@pytest.fixture
def judged(bed: Bed) -> Iterator[Judged]:
    with (
        postgres.connect(bed.settings) as connection,
        clickhouse.connect(bed.settings, "operator") as client,
    ):
        yield Judged(connection, client, sources.every(connection), bed.name)


def tail(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["tail", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_message_is_shown_with_its_verdict_and_the_rule(bed: Bed) -> None:
    good = event(77001, secret="4242 4242", device_info={"os": "linux"})
    bad = event(77002, event="never_registered")
    bed.send([good, bad, b"not json", good])
    bed.load()

    shown = tail("--source", bed.name)
    by_id = {(one["event_id"], one["verdict"]): one for one in shown}
    accepted = by_id[good["event_id"], "accepted"]
    assert accepted["reason"] == ""
    assert accepted["message"]["page"] == "/home"
    copy = by_id[good["event_id"], "rejected"]
    assert copy["reason"] == "duplicate_event_id"
    unknown = by_id[bad["event_id"], "rejected"]
    assert (unknown["reason"], unknown["field"]) == ("unknown_event_type", "event")
    assert unknown["rule"] == "event_type_registered"
    (garbage,) = [one for one in shown if one["event_id"] == ""]
    assert (garbage["reason"], garbage["message"]) == ("malformed_json", {})
    assert len(shown) == 4
    assert len(tail("--source", bed.name, "--rejected", "-n", "2")) == 2


def test_nothing_personal_is_shown(bed: Bed) -> None:
    bed.send([event(77003, secret="4242 4242", geo_location={"city": "Kraków"})])
    bed.send([event("seventy-seven", secret="4242")])
    bed.load()
    shown = tail("--source", bed.name)
    assert [one["message"]["secret"] for one in shown] == [REDACTED] * 2
    assert [one["message"]["user_id"] for one in shown] == [REDACTED] * 2
    said = json.dumps(shown, ensure_ascii=False)
    assert not [word for word in ("4242", "77003", "seventy", "Kraków") if word in said]


def test_each_look_brings_what_came_since(bed: Bed, judged: Judged) -> None:
    bed.send([event(1)])
    bed.load()
    assert len(judged.look(600)) == 1
    assert judged.look(600) == []
    bed.send([event(2), event(3)])
    bed.load()
    assert [one["verdict"] for one in judged.look(600)] == ["accepted"] * 2


def test_of_a_large_micro_batch_the_last_are_shown(bed: Bed, judged: Judged) -> None:
    bed.send([event(1, page=f"/{number}") for number in range(500)])
    bed.load()
    shown = judged.look(600, most=10)
    assert [one["message"]["page"] for one in shown] == [f"/{n}" for n in range(490, 500)]


def test_a_field_that_the_source_calls_otherwise_is_known(bed: Bed) -> None:
    bed.ask(
        "UPDATE data_sources SET config = %s::jsonb WHERE source_id = %s",
        '{"fields": {"user_id": "uid", "page": "screen"}}',
        bed.name,
    )
    bed.send([{"uid": 77004, "screen": "/s", "event": "page_view"}])
    bed.load()
    (shown,) = tail("--source", bed.name)
    assert shown["message"] == {"user_id": REDACTED, "page": "/s", "event": "page_view"}


def test_people_read_a_line_each(bed: Bed) -> None:
    bed.send([event(5, event="never_registered")])
    bed.load()
    done = CliRunner().invoke(app, ["tail", "--source", bed.name])
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    assert "rejected" in line
    assert "unknown_event_type event rule event_type_registered" in line


def test_a_source_that_there_is_not_is_said(settings: Settings) -> None:
    done = CliRunner().invoke(app, ["tail", "--source", "none_such"])
    assert done.exit_code == 2
    assert "there is no source 'none_such'" in done.stderr
