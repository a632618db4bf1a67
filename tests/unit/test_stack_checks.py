"""A machine that can't take the stack is told so in a sentence, with the fix."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from millrace.stack import checks, kafka, secrets
from millrace.stack.server import StackError, find_program
from millrace.steps import Step, StepError, run


def test_every_taken_port_is_named_with_its_owner() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        wanted = [("kafka", one.getsockname()[1]), ("clickhouse", other.getsockname()[1])]
        with pytest.raises(StackError) as told:
            checks.check_ports_are_free(wanted, 18080)
    for server, port in wanted:
        assert f"port {port}, which {server} needs, is in use by" in str(told.value)
    assert str(told.value).count(f"(process {os.getpid()})") == 2
    checks.check_ports_are_free(wanted, 18080)


def test_little_disk_and_memory(tmp_path: Path) -> None:
    checks.check_disk(tmp_path, needed=1)
    with pytest.raises(StackError, match="MILLRACE_HOME"):
        checks.check_disk(tmp_path, needed=1 << 60)
    with pytest.raises(StackError, match="GiB of memory"):
        checks.check_memory(needed=1 << 60)


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(StackError, match="apt-get install redis-server"):
        find_program("no-such-program", package="redis-server")


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(kafka, "JAVA_AT_LEAST", 99)
    with pytest.raises(StackError, match="Kafka needs Java 99"):
        kafka.java()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    first = secrets.ensure(tmp_path)
    assert secrets.ensure(tmp_path) == first
    assert set(first) == set(secrets.NAMES)
    assert len(set(first.values())) == len(first)
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_steps_follow_what_they_wait_for() -> None:
    done: list[str] = []
    states: list[tuple[str, str]] = []

    def fail() -> None:
        raise ValueError("out of luck")

    plan = [
        Step("a", lambda: done.append("a")),
        Step("b", lambda: done.append("b"), ("a",)),
        Step("c", fail, ("b",)),
        Step("d", lambda: done.append("d"), ("c",)),
    ]
    with pytest.raises(StepError, match="c: out of luck"):
        run(plan, lambda name, state: states.append((name, state)))
    assert done == ["a", "b"]
    assert ("d", "skipped") in states
