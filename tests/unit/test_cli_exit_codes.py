"""Every command ends with 2 and a sentence where it can't do its work; 1 is an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from millrace.cli.errors import ERROR
from millrace.cli.main import app, run
from millrace.stores import kafka

LEFT_OUT = {
    "up", "restore", "reset", "test", "chaos",  # they start servers, ask, or run tests
    "backups gateway",  # needs only what it then waits for
    "dbt", "bench", "airflow",  # have exit codes of their own
}  # fmt: skip
FILE = "rule.yaml"
ARGUMENTS = {
    "logs": ["kafka"],
    "import": [FILE],
    "verify": ["--conservation"],
    "rules add": [FILE],
    "rules remove": ["x"],
    "rules enable": ["x"],
    "rules disable": ["x"],
    "rules mode": ["x", "shadow"],
    "rules show": ["x"],
    "event-types show": ["x"],
    "event-types register": ["x"],
    "event-types retire": ["x"],
    "sources add": ["x", "--topic", "x"],
    "sources enable": ["x"],
    "sources disable": ["x"],
    "sql": ["SELECT 1"],
    "send": ['{"event": "x"}'],
    "rules dry-run": ["x"],
    "alerts ack": ["x"],
    "alerts show": ["x"],
    "alerts add": [FILE],
    "alerts remove": ["x"],
    "alerts enable": ["x"],
    "alerts disable": ["x"],
    "alerts test": ["x"],
    "alerts maintenance": ["x", 'a="b"', "--from", "2026-01-30T02:00", "--for", "1h"],
    "alerts silence add": ['a="b"', "--for", "1h", "--comment", "x"],
    "alerts silence end": ["x"],
    "exports run": ["events", "2026-01-30T02:00"],
    "exports grant": ["x", "hashed"],
    "backups erase": ["1", "--reason", "x"],
}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command, as it is typed."""
    if not hasattr(group, "commands"):
        yield " ".join(path)
        return
    for name, command in group.commands.items():
        yield from commands(command, (*path, name))


COMMANDS = sorted(set(commands(get_command(app))) - LEFT_OUT)


def test_those_left_out_exist() -> None:
    assert set(commands(get_command(app))) >= LEFT_OUT | ARGUMENTS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_servers(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(FILE).write_text("name: x\n")
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("MILLRACE_PORT_BASE", "9")
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.5)
    with pytest.raises(SystemExit) as ended:
        run([*command.split(), *ARGUMENTS.get(command, [])])
    said = capsys.readouterr().err
    assert ended.value.code == ERROR, said
    assert "Usage:" not in said
    assert said.strip()
