"""Lists: names whole at any width, and the same rows as JSON and YAML."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import yaml
from rich.console import Console

from millrace.cli import listing

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
