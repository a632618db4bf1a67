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


def java(folder: Path, version: str) -> str:
    """Make a program that says that it is a Java of this version; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return str(program)


def test_a_java_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kafka, "JVMS", tmp_path / "jvm")
    with pytest.raises(StackError, match="Kafka needs Java 17, and found is none"):
        kafka.java()
    for version, major in (("11.0.2", "11"), ("1.8.0_392", "1")):
        java(tmp_path, version)
        with pytest.raises(StackError, match=f"Kafka needs Java 17, and found is {major};"):
            kafka.java()
    newer = java(tmp_path / "jvm" / "java-17" / "bin", "17.0.1")
    assert kafka.java() == newer
    own = java(tmp_path, "21")
    assert kafka.java() == own


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
