"""What ``./millrace import`` says when it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from millrace.cli.main import app
from millrace.imports import send


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", None, "No such file"),
        ("x.txt", "", "can't tell the format of x.txt"),
        ("x.csv", "", "it holds no rows"),
        ("x.csv", "a,a\n1,2\n", "names the column 'a' 2 times"),
        ("x.csv", "event,timestamp\n", "nothing fills 'user_id'"),
        ("x.parquet", "PAR1", "it is cut off or damaged, or no Parquet"),
        ("x.xlsx", "", "save the sheet as “CSV UTF-8”"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_told_without_a_server(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    done = CliRunner().invoke(app, ["import", str(path)])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_shift_that_no_calendar_bears_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("event,timestamp,user_id\n")
    done = CliRunner().invoke(app, ["import", str(path), "--shift-days", "99999999999"])
    assert done.exit_code == 2
    assert "more than a century" in done.output


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("checking", 2_000, None)], "nothing was sent. Run the same command to go on"),
        (
            [("checking", 9_000, None), ("sending", 4_000, 9_000)],
            "4,000 of 9,000 rows or more were sent. Run the same command to go on; each row "
            "counts once",
        ),
    ],
)
def test_an_interruption_says_how_far_it_came_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, steps: list[Any], said: str
) -> None:
    def run(*_arguments: Any, tell: Any, **_options: Any) -> None:
        for step in steps:
            tell(*step)
        raise KeyboardInterrupt

    monkeypatch.setattr(send, "run", run)
    done = CliRunner().invoke(app, ["import", str(tmp_path / "x.csv")])
    assert done.exit_code == 130
    assert done.output.strip() == f"Interrupted: {said}"
