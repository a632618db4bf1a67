"""The process supervisor (supervisord): one per stack, reached through a Unix socket."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from millrace import waiting
from millrace.stack.server import Server, StackError

LONGEST_SOCKET_PATH = 100
"""A Unix socket's path holds at most 107 bytes; supervisord appends a process id for a moment."""

STOP_SECONDS = 600
"""How long a shutdown may take; each server is killed when its own time to stop is over."""


class Supervisor:
    """Starts, stops and watches the processes of one stack."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.configuration = home / "supervisord.conf"
        self.logs = home / "logs"
        self._socket = home / "supervisor.sock"
        if len(str(self._socket)) > LONGEST_SOCKET_PATH:
            digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
            self._socket = Path(tempfile.gettempdir()) / f"millrace-{os.getuid()}-{digest}.sock"

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy, f"supervisor.{method}")(*arguments)

    def is_running(self) -> bool:
        """Tell whether the supervisor answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, Fault):
            return False

    def await_end(self) -> None:
        """Wait for a supervisor that was told to end, by an interrupted ``down`` or by init.

        Raises ``StackError`` when it has not after ``STOP_SECONDS``.
        """
        try:
            self._call("getState")
        except OSError:
            return
        except Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                with suppress(FileNotFoundError):  # it is gone by now
                    self._await_gone(int((self.home / "supervisord.pid").read_text()))

    def configure(self, servers: Sequence[Server]) -> None:
        """Write the configuration; a running supervisor restarts exactly what changed."""
        self.logs.mkdir(parents=True, exist_ok=True)
        text = self._render(servers)
        with os.fdopen(
            os.open(self.configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as file:
            file.write(text)
        if not self.is_running():
            return
        _added, changed, removed = self._call("reloadConfig")[0]
        for name in [*changed, *removed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*_added, *changed]:
            self._call("addProcessGroup", name)

    def launch(self) -> None:
        """Start the supervisor itself, in the background, unless it runs.

        Raises ``StackError`` when it does not come up.
        """
        if self.is_running():
            return
        self.await_end()
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = f"{done.stderr.strip()}\nIts log is {self.logs / 'supervisord.log'}."

        def answers() -> bool:
            if self.is_running():
                return True
            if done.returncode:
                raise StackError(f"the supervisor did not start: {said}")
            return False

        waiting.until(
            answers,
            "the supervisor to answer",
            seconds=20,
            every=0.05,
            hint=said,
            error=StackError,
        )

    def start(self, name: str) -> None:
        """Start a process unless it runs."""
        try:
            self._call("startProcess", name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise StackError(f"{name} could not be started: {fault.faultString}") from fault

    def stop(self, name: str) -> None:
        """Stop a process and wait for its end; it stays stopped."""
        try:
            self._call("stopProcess", name, True)
        except Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise StackError(f"{name} could not be stopped: {fault.faultString}") from fault

    def stop_together(self, names: Sequence[str]) -> None:
        """Stop several processes at once and wait for their end."""
        known = [name for name in names if name in self.processes()]
        with ThreadPoolExecutor(max_workers=max(1, len(known))) as pool:
            list(pool.map(self.stop, known))

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what the supervisor knows of each process, by name; nothing if it is down."""
        if not self.is_running():
            return {}
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def shutdown(self) -> None:
        """Stop every process, then the supervisor, and wait until it is gone.

        Raises ``StackError`` when it is not after ``STOP_SECONDS``.
        """
        if not self.is_running():
            return
        pid = self._call("getPID")
        self._call("shutdown")
        self._await_gone(pid)

    def _await_gone(self, pid: int) -> None:
        waiting.until(
            lambda: _is_gone(pid),
            "the supervisor to stop its servers and itself",
            seconds=STOP_SECONDS,
            every=0.05,
            hint=f"its log is {self.logs / 'supervisord.log'}",
            error=StackError,
        )

    def _render(self, servers: Sequence[Server]) -> str:
        sections: dict[str, dict[str, object]] = {
            "unix_http_server": {"file": self._socket, "chmod": "0600"},
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": (
                    "supervisor.rpcinterface:make_main_rpcinterface"
                )
            },
            "supervisord": {
                "logfile": self.logs / "supervisord.log",
                "logfile_maxbytes": "5MB",
                "logfile_backups": 2,
                "loglevel": "info",
                "pidfile": self.home / "supervisord.pid",
                "childlogdir": self.logs,
                "silent": "true",
                "minfds": 4096,
                **({"user": "root"} if os.geteuid() == 0 else {}),
            },
            "supervisorctl": {"serverurl": f"unix://{self._socket}"},
        }
        for priority, server in enumerate(servers, start=1):
            sections[f"program:{server.name}"] = {
                "command": shlex.join(server.command),
                "directory": server.directory,
                "environment": ",".join(
                    f"{k}={_quote(k, v)}" for k, v in server.environment.items()
                ),
                "priority": priority,
                "autostart": "false",
                "autorestart": "true",
                "startsecs": 1,
                "startretries": 20,
                "stopsignal": server.stop_signal,
                "stopwaitsecs": server.stop_seconds,
                "stopasgroup": "true" if server.group == "airflow" else "false",
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": self.logs / f"{server.name}.log",
                "stdout_logfile_maxbytes": "10MB",
                "stdout_logfile_backups": 3,
            }
        return "\n".join(
            f"[{title}]\n"
            + "".join(f"{k} = {str(v).replace('%', '%%')}\n" for k, v in body.items())
            for title, body in sections.items()
        )


def _quote(name: str, value: str) -> str:
    for mark in ("'", '"'):
        if mark not in value and "\n" not in value:
            return f"{mark}{value}{mark}"
    raise StackError(f"{name} may not hold both kinds of quotation marks, nor line breaks")


def _is_gone(pid: int) -> bool:
    """Whether a process has ended; nobody may collect it, as in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
