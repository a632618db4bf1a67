"""Every command ends with 2 and a sentence where it can't do its work; 1 is an answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.main import get_command

from millrace.cli.errors import ERROR
from millrace.cli.main import app, run
from millrace.stores import kafka

LEFT_OUT = {
    "up", "restore", "reset", "test", "chaos",  # they start servers, ask, or run tests
    "generate",  # needs no server
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
    "alerts routes set": ["x", "--kind", "slack"],
    "alerts routes test": ["x"],
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
    "erase": ["1", "--reason", "x"],
    "keys add": ["x"],
    "keys revoke": ["x"],
    "keys rotate": ["x"],
    "tokens add": ["x", "--role", "viewer"],
    "tokens revoke": ["x"],
    "users add": ["x", "--role", "viewer"],
    "users change": ["x"],
    "users disable": ["x"],
    "users enable": ["x"],
    "users password": ["x"],
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


command_of = cache(get_command)
"""Makes the tree of commands once, which takes longer than most commands that fail."""


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a rule in it, and no stack."""
    monkeypatch.setattr(typer.main, "get_command", command_of)
    monkeypatch.chdir(tmp_path)
    Path(FILE).write_text("name: x\n")
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("MILLRACE_PORT_BASE", "9")
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.1)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_servers(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*command.split(), *ARGUMENTS.get(command, [])])
    said = capsys.readouterr().err
    assert ended.value.code == ERROR, said
    assert "Usage:" not in said
    assert said.strip()


BROKEN = ("", "½", "-99999999999999999999", "nan", "2026-13-45T99:99", "a\nb", '{"')
"""What nobody should give to anything."""


def options(command: str) -> list[str]:
    """Return the options of a command that take a value."""
    at: Any = command_of(app)
    for word in command.split():
        at = at.commands[word]
    return [p.opts[0] for p in at.params if p.param_type_name == "option" and not p.is_flag]


@pytest.mark.slow
@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", COMMANDS)
def test_broken_input_ends_in_a_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("bytes").write_bytes(bytes(range(256)))
    right = [*command.split(), *ARGUMENTS.get(command, [])]
    broken = [[*right, name, value] for name in options(command) for value in BROKEN]
    for place in range(len(command.split()), len(right)):
        for value in (*BROKEN, "folder", "bytes", "nosuch"):
            broken.append([*right[:place], value, *right[place + 1 :]])
    for arguments in broken:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        said = capsys.readouterr().err
        assert ended.value.code in (0, 1, ERROR), f"{arguments}: {said}"
        assert said.strip(), arguments
