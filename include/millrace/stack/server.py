"""What the supervisor needs to know about an embedded server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace.steps import StepError


class StackError(StepError):
    """The stack can't do what was asked; the message says why and what to do next."""


@dataclass(frozen=True)
class Server:
    """One supervised process.

    ``prepare`` makes what the process needs on disk and is harmless when repeated; ``check``
    raises while the server can't serve; ``group`` is ``"store"``, ``"backups"``, ``"apis"`` or
    ``"airflow"``; ``addresses`` are URLs by protocol, without credentials.
    """

    name: str
    command: list[str]
    check: Callable[[], None]
    directory: Path
    port: int | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    group: str = "store"
    prepare: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 20

    @property
    def ports(self) -> list[int]:
        """Every port that it listens on."""
        named = [urlsplit(f"//{url.rpartition('//')[2]}").port for url in self.addresses.values()]
        return sorted({port for port in [self.port, *named] if port})


def check_port(port: int) -> None:
    """Raise ``ConnectionError`` unless something listens on loopback at ``port``."""
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


def find_program(name: str, *folders: Path, package: str) -> str:
    """Return the path of a program on ``PATH`` or in ``folders``.

    Raises ``StackError`` naming the Debian ``package`` that brings it.
    """
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise StackError(f"{name} is not installed: apt-get install {package}")
    return found


def complete(command: list[str], failure: str, *, lines: int = 1, **options: Any) -> None:
    """Run a command to its end; ``options`` are those of ``subprocess.run``.

    Raises ``StackError`` with ``failure`` and the last ``lines`` that it said when it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-lines:]
        reason = "\n".join(said) or f"exit code {done.returncode}"
        gap = " " if lines == 1 else "\n"
        raise StackError(f"{failure}:{gap}{reason}")
