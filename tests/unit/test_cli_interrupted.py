"""Ctrl-C ends a command with a line, not with a traceback."""

from __future__ import annotations

import pytest

from millrace.cli.main import run
from millrace.settings import Settings
from millrace.stores import postgres


def test_an_interrupted_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_settings: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(postgres, "connect", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(["rules", "list"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == (
        "\nInterrupted. What was done stays; run the same command to go on or start over.\n"
    )
