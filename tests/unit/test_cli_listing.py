"""Lists: names whole at any width, and the same rows as JSON and YAML."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import typer
import yaml
from rich.console import Console

from millrace.cli import listing, tail
from millrace.cli.alerts.common import print_table
from millrace.stack import report

NAME = "a_name_that_is_longer_than_most_terminals_leave_room_for"
ROWS = [
    {
        "name": NAME,
        "at": datetime(2026, 11, 29, 8, 15, tzinfo=UTC),
        "labels": {"host": "a"},
        "n": 7,
    },
    {"name": "b", "at": None, "labels": {}, "n": 1234},
]


@pytest.mark.parametrize("width", ["20", "80", "400"])
def test_a_name_is_whole_when_piped(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    listing.show(ROWS)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if NAME in line]
    assert "2026-11-29 08:15:00" in line
    assert "host=a" in line


def test_a_name_is_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    listing.show([{"name": NAME, "detail": "word " * 40}])
    said = capsys.readouterr().out
    assert NAME in said
    assert said.count("word") == 40


def test_json_and_yaml_hold_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out)[0] == {
        "name": NAME, "at": "2026-11-29T08:15:00Z", "labels": {"host": "a"}, "n": 7,
    }  # fmt: skip
    listing.show(ROWS, as_yaml=True)
    assert yaml.safe_load(capsys.readouterr().out)[1] == {
        "name": "b", "at": None, "labels": {}, "n": 1234,
    }  # fmt: skip
    listing.show([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_nothing_to_list_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show([], title="windows that are due")
    assert capsys.readouterr().out == "windows that are due: none\n"


OUTSIDE = ["a\x1b[2Jb", "a\x07b", "a\x9b2Jb", "a\u202eb", "a\ud800b", "a[/b]b", "a[red]b", "a[b"]
"""Texts of strangers that a terminal, or the library that draws on it, would obey."""


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_terminal_shows_what_strangers_wrote_and_obeys_none_of_it(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = text.encode("unicode_escape").decode()
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "200")
    listing.show([{"name": text, "labels": {text: [text]}}])
    print_table("when", "series", rows=[[1, text]])
    row = report.Row("kafka", "running", 1, 2, text, 3, 4, {})
    Console(width=200).print(report.table([row]))
    one = dict.fromkeys(("reason", "field", "rule", "detail", "event_id"), text)
    moment = datetime(2026, 11, 29, tzinfo=UTC)
    typer.echo(
        tail.line(
            one | {"received_at": moment, "source_id": "s", "verdict": "rejected", "event": text}
        )
    )
    said = capsys.readouterr().out
    assert said.count(shown) == 3 + 1 + 1 + 6
    assert shown == text or text not in said


def test_what_is_written_on_several_lines_is_shown_so() -> None:
    assert listing.cell("first\n\tsecond") == "first\n\tsecond"


def test_one_of_a_kind_is_not_many() -> None:
    assert [listing.count(many, "rule") for many in (0, 1, 2_000)] == [
        "0 rules", "1 rule", "2,000 rules",
    ]  # fmt: skip
