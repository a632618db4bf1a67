"""One embedded stack: its servers, by name, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from millrace import processes, waiting
from millrace.settings import Settings
from millrace.stack import (
    airflow,
    apis,
    backups,
    clickhouse,
    exclusion,
    kafka,
    postgres,
    redis,
    s3,
)
from millrace.stack import secrets as stack_secrets
from millrace.stack.server import Server, StackError, check_port
from millrace.stack.supervisor import Supervisor


class Stack:
    """The servers of the stack that the current environment names.

    Reads ``Settings`` once its secrets exist. A store whose address was set to a server elsewhere
    is not started here. ``with_airflow`` adds Airflow's processes, ``with_apis`` those that
    programs ask.
    """

    def __init__(self, *, with_airflow: bool = True, with_apis: bool | None = None) -> None:
        home = Settings().home
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        self.secrets = stack_secrets.ensure(home)
        self.settings = Settings()
        self.notes: list[str] = []
        """What it does without, and why, in sentences for whoever set it up."""
        self.supervisor = Supervisor(home)
        apis = with_airflow if with_apis is None else with_apis
        self.servers = {server.name: server for server in self._describe(with_airflow, apis)}
        self.environment = self._environment()
        self.airflow_environment = airflow.environment(self.settings, self.secrets)

    def _describe(self, with_airflow: bool, with_apis: bool) -> Iterable[Server]:
        settings = self.settings
        if with_airflow or self.has_own_metadata:
            yield postgres.server(settings)
        if settings.is_embedded(settings.redis_url, "redis"):
            yield redis.server(settings)
        if settings.is_embedded(f"//{settings.kafka_bootstrap_servers}", "kafka"):
            yield kafka.server(settings)
        if settings.is_embedded(settings.s3_endpoint, "s3"):
            yield s3.server(settings)
        if settings.is_embedded(settings.clickhouse_url, "clickhouse"):
            yield clickhouse.server(settings, self.secrets)
        if settings.is_embedded(settings.backup_endpoint, "backup_gateway"):
            yield from backups.servers(settings)
        if with_apis:
            yield from apis.servers(settings)
        if with_airflow:
            yield from airflow.servers(settings)

    def _environment(self) -> dict[str, str]:
        """Return what every process of the stack finds in its environment."""
        own = {name: value for name, value in os.environ.items() if name.startswith("MILLRACE_")}
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {
            **own,
            "MILLRACE_HOME": str(self.settings.home),
            "MILLRACE_PORT_BASE": str(self.settings.port_base),
            "PATH": programs,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "TZ": "UTC",
        }

    @property
    def has_own_metadata(self) -> bool:
        """Whether Millrace's metadata is in the PostgreSQL of this stack, which Airflow has too."""
        return self.settings.is_embedded(self.settings.postgres_url, "postgres")

    @property
    def child_environment(self) -> dict[str, str]:
        """The whole environment for a command run beside the stack (``airflow``, ``dbt``, …)."""
        return {**os.environ, **self.environment, **self.airflow_environment}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from setting this stack up, or ending it, meanwhile.

        Raises ``StackError`` when one does.
        """
        try:
            lock = exclusion.hold(self.settings.home / "up.lock")
        except exclusion.HeldError as error:
            raise StackError(
                f"process {error.holder} is setting this stack up, or ending it: "
                f"{self.settings.home}. Wait for it, then try again"
            ) from None
        try:
            yield
        finally:
            os.close(lock)

    def names(self, group: str) -> list[str]:
        """Return the names of the servers of a group (``Server.group``)."""
        return [server.name for server in self.servers.values() if server.group == group]

    def configure(self) -> None:
        """Write the supervisor's configuration and see that the supervisor runs."""
        for server in self.servers.values():
            server.directory.mkdir(parents=True, exist_ok=True)
        described = [self._surrounded(server) for server in self.servers.values()]
        self.supervisor.configure(described)
        self.supervisor.launch()

    def _surrounded(self, server: Server) -> Server:
        """Return a server with the environment of its group: a change restarts no other group."""
        shared = self.airflow_environment if server.group == "airflow" else {}
        return replace(server, environment={**self.environment, **shared, **server.environment})

    def start(self, name: str) -> None:
        """Prepare and start one server unless it runs."""
        self.servers[name].prepare()
        self.supervisor.start(name)

    def stop(self, name: str) -> None:
        """Stop one server in good order; it stays stopped until it is started again."""
        self.supervisor.stop(name)

    def kill(self, name: str) -> None:
        """Kill one server's process (SIGKILL); the supervisor starts it again."""
        os.kill(self.pid(name), signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Freeze a server's process (SIGSTOP) until ``resume``."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid(name), signal.SIGCONT)

    def pid(self, name: str) -> int:
        """Return the process id of a running server; raises ``StackError`` if it is down."""
        pid = self.supervisor.processes().get(name, {}).get("pid", 0)
        if not pid:
            raise StackError(f"{name} is not running; its log is {self.log(name)}")
        return int(pid)

    def wait_gone(self, pid: int, timeout: float = 30) -> None:
        """Wait until a process has ended; raises ``psutil.TimeoutExpired`` if it does not."""
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(timeout)

    def log(self, name: str) -> Path:
        """Return the path of a server's log."""
        return self.supervisor.logs / f"{name}.log"

    def wait_healthy(self, name: str, timeout: float = 300) -> None:
        """Wait until a server serves; raises ``StackError`` with the last reason if it never does.

        ``timeout`` is in seconds.
        """
        trouble = ""

        def serves() -> bool:
            nonlocal trouble
            try:
                self.check(name)
            except Exception as error:
                state = self.supervisor.processes().get(name, {}).get("statename", "DOWN")
                trouble = f"{state.lower()}, {error}"
                if state == "FATAL":
                    raise StackError(f"{name} does not serve: {explained()}") from error
                return False
            return True

        def explained() -> str:
            return f"{trouble}\n{self.tail(name)}\nIts log is {self.log(name)}."

        waiting.until(
            serves,
            f"{name} to serve",
            seconds=timeout,
            every=0.05,
            hint=explained,
            error=StackError,
        )

    def check(self, name: str) -> None:
        """Raise an exception, of whatever kind its client knows, unless a server serves."""
        server = self.servers[name]
        if server.port is not None:
            check_port(server.port)  # at once, where some clients would retry for long
        server.check()

    def tail(self, name: str, lines: int = 5) -> str:
        """Return the last lines of a server's log."""
        path = self.log(name)
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def shutdown(self) -> list[str]:
        """Stop everything, Airflow first; return what a dead supervisor had left running.

        Raises ``StackError`` naming the processes that don't end.
        """
        self.supervisor.await_end()
        # While the scheduler's tasks end, the api-server has to be there to be told how.
        self.supervisor.stop_together(["scheduler"])
        self.supervisor.stop_together(self.names("airflow"))
        if self.supervisor.is_running():
            # Tasks that did not end when they were asked to, nor with the scheduler: each leads a
            # process group of its own. They are harmless, and tried again.
            folders = [self.servers[name].directory for name in self.names("airflow")]
            _kill(processes.working_in(folders))
        self.supervisor.stop_together(self.names("apis"))
        # PostgreSQL hands the end of its log to the archiver, which sends it through the gateway to
        # the bucket: each ends before what it needs.
        self.supervisor.stop_together([name for name in self.names("store") if name != "s3"])
        for name in reversed(self.names("backups")):
            self.supervisor.stop_together([name])
        self.supervisor.shutdown()
        left = processes.working_in([server.directory for server in self.servers.values()])
        said = [f"{process.name()} (process {process.pid})" for process in left]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _gone, stubborn = psutil.wait_procs(left, timeout=10)
        _kill(stubborn)
        return said


def _kill(left: Sequence[psutil.Process]) -> None:
    """Kill processes; raises ``StackError`` naming those that live on."""
    if stubborn := processes.kill(left):
        pids = ", ".join(str(process.pid) for process in stubborn)
        raise StackError(f"these processes do not end, even when killed: {pids}; see ps -fp {pids}")
