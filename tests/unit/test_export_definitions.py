"""What is wrong with a declared export is told by name, and not in a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from millrace.cli import exports as commands
from millrace.cli.errors import ERROR
from millrace.exports import definitions
from millrace.exports.definitions import ExportError

GOOD: dict[str, Any] = {
    "name": "mine",
    "description": "Mine",
    "relation": "events",
    "columns": ["event_time"],
    "time_column": "event_time",
    "order_by": ["event_time"],
    "schedule": "hourly",
    "destination": "exports/mine",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": "weekly"}, "schedule must be one of hourly, daily, on_demand"),
        ({"personal_data": "secret"}, "personal_data must be one of plain, hashed, excluded"),
        ({"format": ["CSV"]}, "format must be one of Parquet, CSV, JSONEachRow"),
        ({"retention_days": 0}, "retention_days must be"),
        ({"retention_days": "90"}, "retention_days must be"),
        ({"columns": [{"expression": "1"}]}, "columns must be"),
        ({"columns": 3}, "columns must be"),
        ({"order_by": None}, "order_by a list"),
        ({"order_by": ["other"]}, "other in time_column or order_by is no column"),
        ({"retention": 90}, "retention"),
        ({"destination": "Exports/mine"}, "destination must be"),
        ({"destination": 3}, "destination must be"),
        ({"destination": "on_demand/mine"}, "and not on_demand"),
    ],
)
def test_the_field_that_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    definitions.parse(GOOD)
    with pytest.raises(ExportError, match="export mine") as told:
        definitions.parse(GOOD | change)
    assert said in str(told.value)


@pytest.mark.parametrize("text", ["- name: [", "just: a mapping", "- just a name", "7"])
def test_a_file_that_declares_none_ends_apply_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "exports.yaml"
    path.write_text(text)
    with pytest.raises(ExportError, match=r"exports\.yaml"):
        definitions.seeded(path)

    def refuse(_settings: object) -> list[str]:
        raise ExportError("export mine: it does not fit")

    monkeypatch.setattr(definitions, "apply", refuse)
    done = CliRunner().invoke(commands.app, ["apply"])
    assert done.exit_code == ERROR
    assert done.output == "export mine: it does not fit\n"
