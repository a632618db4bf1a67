"""Processes that ours starts or finds: servers that end with it, and what works in a folder."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def ending_with_parent(command: list[str], by: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return ``command`` changed so that it gets a signal when the process that runs it dies.

    Even ``kill -9`` leaves no orphan then. To the kernel the parent is the thread that started it.
    """
    return ["setpriv", "--pdeathsig", by.name.removeprefix("SIG"), "--", *command]


def unprivileged(command: list[str], folder: Path) -> list[str]:
    """Return ``command`` changed so that it runs as an ordinary user when we are root.

    PostgreSQL refuses root. The user may not be able to enter ``folder`` (``/root`` is closed to
    others); then the process keeps the one capability that lets it pass.
    """
    if os.geteuid() != 0:
        return command
    user = database_user()
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    if not all(place.stat().st_mode & 0o001 for place in [folder, *folder.parents]):
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*prefix, "--", *command]


def database_user() -> str:
    """Return the user that PostgreSQL runs as when we are root."""
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def running(
    command: list[str],
    log: Path,
    *,
    folder: Path | None = None,
    is_unprivileged: bool = False,
    stop_signal: signal.Signals = signal.SIGTERM,
    stop_seconds: float = 60,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of a ``with``, and no longer than this process lives.

    It works in ``folder``, by an ordinary user if it ``is_unprivileged``, and ``log`` gets what it
    says. It has a session of its own: what a terminal sends to us reaches it through us. One that
    does not end in ``stop_seconds`` is killed.
    """
    whole = ending_with_parent(command, stop_signal)
    if is_unprivileged:  # around it: the kernel forgets the signal with a change of user
        whole = unprivileged(whole, (folder or Path.cwd()).parent)
    with log.open("ab") as words:
        server = subprocess.Popen(
            whole,
            stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield server
    finally:
        server.send_signal(stop_signal)
        try:
            server.wait(stop_seconds)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def working_in(folders: Sequence[Path]) -> list[psutil.Process]:
    """Return live processes that work in folders, but for this one and its parents.

    They are known by the folder: a title that a process gives itself overwrites its environment.
    Who looks around there from a terminal is none of them.
    """
    own = psutil.Process()
    own_pids = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            place = Path(process.cwd())
            if (
                process.pid not in own_pids
                and process.terminal() is None
                and any(place.is_relative_to(folder) for folder in folders)
            ):
                process.name()  # which is kept, for when it is gone
                found.append(process)
    return found


def kill(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Kill processes and wait for their end; return those that live on."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _gone, stubborn = psutil.wait_procs(processes, timeout=10)
    return stubborn
