"""Embedded stacks of one's own, for a test, a campaign or a benchmark."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from millrace import steps
from millrace.settings import PORTS
from millrace.stack.stack import Stack
from millrace.usecases import up

RESERVATION = 19
"""The offset of a port that no server has: who takes a port base keeps it bound."""


@contextmanager
def port_base() -> Iterator[int]:
    """Take a port base all of whose ports are free; no other process is given it meanwhile.

    Its ports are below the range of outgoing connections.
    """
    for base in random.SystemRandom().sample(range(12_000, 31_000, 20), 200):
        with socket.socket() as reservation:
            try:
                reservation.bind(("127.0.0.1", base + RESERVATION))
            except OSError:
                continue
            if all(_is_free(base + offset) for offset in PORTS.values()):
                yield base
                return
    raise RuntimeError("no 20 neighbouring ports are free between 12000 and 31000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a moment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def running(
    home: Path, *, with_airflow: bool, with_apis: bool | None = None, **extra: str
) -> Iterator[Stack]:
    """Bring up a stack of its own in ``home``; take it down whatever happens.

    The APIs are there with Airflow, unless ``with_apis`` says otherwise.
    ``extra`` are further environment variables (``MILLRACE_…``) of the stack.
    """
    with port_base() as base:
        environment = {"MILLRACE_HOME": str(home), "MILLRACE_PORT_BASE": str(base), **extra}
        with variables(environment):
            stack = Stack(with_airflow=with_airflow, with_apis=with_apis)
        try:
            steps.run(up.steps(stack))
            yield stack
        finally:
            stack.shutdown()
