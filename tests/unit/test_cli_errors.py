"""A command that can't reach a server, or has a wrong setting, says so in a sentence."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from minio.error import S3Error

from millrace.cli import errors, main
from millrace.settings import FORMER, REPOSITORY, Settings
from millrace.usecases import gates

Run = Callable[..., tuple[int, str]]
"""Runs a command on a stack that is not there; returns its exit code and what it said."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run commands in this process: to start one takes longer than what they do."""

    def run(home: Path, *arguments: str, **settings: str) -> tuple[int, str]:
        around = {"MILLRACE_HOME": str(home), "MILLRACE_PORT_BASE": "9"} | settings
        with monkeypatch.context() as patched:
            for name, value in around.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main.run(arguments)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (["ingest", "status"], "PostgreSQL (MILLRACE_POSTGRES_URL) said:"),
        (["verify", "--conservation"], "PostgreSQL (MILLRACE_POSTGRES_URL) said:"),
        (["quality", "metrics"], "(MILLRACE_"),
    ],
)
def test_a_server_that_does_not_answer(
    run: Run, tmp_path: Path, arguments: list[str], server: str
) -> None:
    code, said = run(tmp_path, *arguments)
    assert code == 2, said
    assert server in said
    assert "./millrace status" in said


def test_a_wrong_setting_is_named(run: Run, tmp_path: Path) -> None:
    code, said = run(tmp_path, "ingest", "status", MILLRACE_INGEST_LINGER_MS="soon")
    assert code == 2
    assert "MILLRACE_INGEST_LINGER_MS" in said
    assert "soon" in said


def test_a_missing_secret_is_named(run: Run, tmp_path: Path) -> None:
    code, said = run(tmp_path, "backups", "list")
    assert code == 2
    assert "MILLRACE_S3_SECRET_KEY is not set" in said


def test_no_stack_is_said_and_none_is_made(run: Run, tmp_path: Path) -> None:
    code, said = run(tmp_path / "none", "status")
    assert code == 2
    assert "./millrace up" in said
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: [", "rules.yaml:1:8: while parsing"),
        (b"name: \xff", "can't decode"),
        (b"a\x00b: 1", "special characters are not allowed"),
        (b"name: a\nname: b\n", "rules.yaml:2:1: in a mapping: the key 'name' is there twice"),
        (b"- name: a\n- name: b\n- name: a\n", "rule a is there twice"),
        (b"- x\n- y\n", "entry 1 is no rule"),
        (b"5", "entry 1 is no rule"),
    ],
    ids=str,
)
def test_a_file_that_holds_no_rules(run: Run, tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(content)
    code, answer = run(tmp_path, "rules", "add", str(file))
    assert code == 2
    assert said in answer
    assert str(file) in answer.replace("\n", "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            S3Error(None, "AccessDenied", "Access Denied.", "/b", "", ""),
            "object storage (MILLRACE_S3_ENDPOINT) said: S3 operation failed; code: AccessDenied",
        ),
        (psycopg.errors.UndefinedTable("no alert_rules"), "Its schema is not up to date"),
        (psycopg.errors.InsufficientPrivilege("no"), "PostgreSQL (MILLRACE_POSTGRES_URL) said: no"),
        (psycopg.errors.CheckViolation("bad"), "PostgreSQL (MILLRACE_POSTGRES_URL) said: bad"),
        (psycopg.errors.NumericValueOutOfRange("big"), "(MILLRACE_POSTGRES_URL) said: big"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "/data: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (TimeoutError("waited 9 s for Kafka: see its log"), "waited 9 s for Kafka: see its log"),
    ],
)
def test_what_a_server_or_a_disk_refuses_is_said(error: Exception, said: str) -> None:
    assert said in " ".join(errors.sentences(error))


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), FileNotFoundError(errno.ENOENT, "No such file", "ours.sql"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
def test_a_programming_error_is_none_of_them(error: Exception) -> None:
    assert errors.sentences(error) == []


def test_a_home_that_is_no_folder_is_named(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    code, said = run(home, "status")
    assert code == 2
    assert f"{home}: " in said


@pytest.mark.parametrize("home", [REPOSITORY, Path.home(), Path("/")], ids=str)
def test_a_folder_of_more_than_a_stack_is_not_deleted(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "millrace.cli.stack.existing_stack",
        lambda: SimpleNamespace(settings=SimpleNamespace(home=home)),
    )
    code, said = run(home, "reset", "--yes")
    assert code == 2
    assert "more than a stack's data" in said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["rules", "enable", "known"], "rule known is on"),
        (["rules", "disable", "known"], "rule known is off"),
        (["rules", "mode", "known", "warn"], "rule known is in mode warn"),
        (["rules", "remove", "known"], "rule known removed"),
        (["event-types", "retire", "click"], "event type click is retired"),
    ],
)
def test_a_change_of_rules_is_said_in_a_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], said: str
) -> None:
    monkeypatch.setattr(gates, "change", lambda _settings, _work: [])
    assert run(tmp_path, *typed) == (0, f"{said}\n")


def test_a_setting_that_nobody_reads_is_refused_with_the_nearest_name(
    run: Run, tmp_path: Path
) -> None:
    code, said = run(tmp_path, "ingest", "status", MILLRACE_INGEST_LINGER="7")
    assert code == 2
    assert "MILLRACE_INGEST_LINGER is no setting; MILLRACE_INGEST_LINGER_MS is" in said
    (tmp_path / "millrace.toml").write_text("alert_delay_secnds = 5\n")
    code, said = run(tmp_path, "alerts", "list")
    assert code == 2
    assert "millrace.toml: alert_delay_secnds is no setting; alert_delay_seconds is" in said


@pytest.mark.parametrize("former", FORMER)
def test_what_is_no_longer_a_setting_is_named_with_what_holds(
    run: Run, tmp_path: Path, former: str
) -> None:
    assert former not in Settings.model_fields
    (tmp_path / "millrace.toml").write_text(f"{former} = 5\n")
    code, said = run(tmp_path, "alerts", "list", **{f"MILLRACE_{former.upper()}": "5"})
    assert code == 2
    for place in (f"millrace.toml: {former}", f"MILLRACE_{former.upper()}"):
        assert f"{place} is no longer a setting ({FORMER[former]}): take it out" in said


def test_a_settings_file_that_is_no_toml_is_named_with_the_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "millrace.toml").write_text("port_base = 18080\nraw_retention_days = =\n")
    code, said = run(tmp_path, "ingest", "status")
    assert code == 2
    assert f"{tmp_path}/millrace.toml is no TOML" in said
    assert "line 2" in said


def test_the_version_and_a_short_option_for_help(run: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "millrace.cli", "--version"]
    assert subprocess.check_output(command, text=True).startswith("Millrace ")
    assert "Usage: ./millrace" in run(tmp_path, "-h")[1]


@pytest.mark.parametrize("own", ["deploy", "sample", "lint"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_dbts_own_additions_does_nothing_else(
    run: Run, tmp_path: Path, own: str, word: str
) -> None:
    code, said = run(tmp_path, "dbt", own, word)
    assert code == 0
    assert said.startswith(f"dbt {own}")
    assert not list(tmp_path.iterdir())


def test_what_a_deployment_does_not_take_is_refused(run: Run, tmp_path: Path) -> None:
    code, said = run(tmp_path, "dbt", "deploy", "--select", "metrics")
    assert code == 2
    assert "takes nothing more" in said


def test_help_of_the_tests_is_short_and_runs_none(run: Run, tmp_path: Path) -> None:
    code, said = run(tmp_path, "test", "--help")
    assert code == 0
    assert "go to pytest" in said
    assert len(said.splitlines()) < 30
