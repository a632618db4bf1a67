"""The faults of a campaign: what is killed, paused, cut or set back."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg

from millrace import waiting
from millrace.lab.chaos.ingest_scheduler import IngestScheduler
from millrace.lab.chaos.models import Models
from millrace.lab.chaos.proxy import Proxy
from millrace.lab.chaos.topic import RemadeTopic
from millrace.stack import airflow
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres, sql

log = logging.getLogger(__name__)

Action = Callable[[], str]
"""Injects a fault and says in a few words what it did."""


class ServerInjector:
    """What can be done to the servers of a stack."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self.stack = stack
        self.rng = rng

    def kill_server(self, name: str) -> str:
        """Kill -9 a server; its supervisor starts it again."""
        pid = self.stack.pid(name)
        self.stack.kill(name)
        self.stack.wait_gone(pid)
        self.stack.wait_healthy(name)
        return f"killed pid {pid}, serving again"

    def pause_server(self, name: str) -> str:
        """Freeze a server for a moment, as a machine out of memory does."""
        seconds = self.rng.uniform(1, 3)
        self.stack.pause(name)
        time.sleep(seconds)
        self.stack.resume(name)
        return f"frozen for {seconds:.1f} s"


class Injector(ServerInjector):
    """Everything that can be done to a stack and whoever loads it."""

    def __init__(self, stack: Stack, rng: random.Random, remade: RemadeTopic) -> None:
        super().__init__(stack, rng)
        self.remade = remade
        self.models = Models(stack.settings)

    def loaded(self) -> int:
        """Return how many micro-batches the ledger counts as loaded; -1 while it is down."""
        try:
            with postgres.connect(self.stack.settings) as connection:
                row = connection.execute(
                    "SELECT count(*) AS n FROM ingest_batches WHERE state = 'loaded'"
                ).fetchone()
        except psycopg.OperationalError:
            return -1
        return int(row["n"]) if row else -1

    def await_progress(self, batches: int, seconds: float = 60) -> bool:
        """Wait until so many more micro-batches are loaded; return whether they were."""
        before = self.loaded()
        if before < 0:
            waiting.poll(lambda: self.loaded() >= 0, seconds=seconds)
            before = self.loaded()
        return waiting.poll(lambda: self.loaded() >= before + batches, seconds=seconds)

    def restore(self, name: str, folder: Path) -> str:
        """Set a server back to an older state: copy its files, let it go on, put the copy back."""
        copy = folder.with_name(f"{folder.name}.older")
        self.stack.stop(name)
        subprocess.run(["cp", "-a", str(folder), str(copy)], check=True)
        self.stack.start(name)
        self.stack.wait_healthy(name)
        went_on = self.await_progress(self.rng.randint(2, 6))
        self.stack.stop(name)
        shutil.rmtree(folder)
        copy.rename(folder)
        self.stack.start(name)
        self.stack.wait_healthy(name)
        return "set back" + ("" if went_on else " (nothing had been loaded since)")

    def alter_views(self) -> str:
        """Alter every view that ingest feeds to what it is, as foreign tools do at each run.

        It gives them another identity for deduplication; the next restart gives the old one back.
        """
        with closing(clickhouse.connect(self.stack.settings)) as client:
            views = client.query(sql.render("clickhouse/chaos/views.sql")).result_rows
            for view, select in views:
                client.command(f"ALTER TABLE {view} MODIFY QUERY {select}")
        restarts = self.rng.random() < 0.5
        if restarts:
            self.kill_server("clickhouse")
        return f"altered {len(views)} views" + (", and restarted ClickHouse" if restarts else "")

    def servers(self) -> dict[str, Action]:
        """The faults that need nobody's help."""
        home = self.stack.settings.home
        return {
            "alter_views": self.alter_views,
            "build_models": self.models.build,
            "deploy_models": self.models.deploy,
            "kill_clickhouse": lambda: self.kill_server("clickhouse"),
            "kill_kafka": lambda: self.kill_server("kafka"),
            "kill_postgres": lambda: self.kill_server("postgres"),
            "kill_redis": lambda: self.kill_server("redis"),
            "remake_topic": self.remade.remake,
            "pause_clickhouse": lambda: self.pause_server("clickhouse"),
            "restore_clickhouse": lambda: self.restore("clickhouse", home / "clickhouse" / "data"),
            "restore_postgres": lambda: self.restore("postgres", home / "postgres" / "data"),
        }


class WorkerInjector(Injector):
    """Faults of workers that a scheduler runs, and of their connections to ClickHouse."""

    def __init__(
        self,
        stack: Stack,
        rng: random.Random,
        remade: RemadeTopic,
        scheduler: IngestScheduler,
        proxy: Proxy,
    ) -> None:
        super().__init__(stack, rng, remade)
        self.scheduler = scheduler
        self.proxy = proxy

    def kill_worker(self) -> str:
        """Kill -9 one worker; its next attempt begins at once."""
        loads = waiting.poll(self.scheduler.loading, seconds=30)
        if not loads:
            return "no worker ran"
        load = self.rng.choice(loads)
        load.send(signal.SIGKILL)
        return f"killed attempt {load.attempt}"

    def kill_every_worker(self) -> str:
        """Kill -9 all of them in one moment."""
        loads = self.scheduler.loading()
        for load in loads:
            load.send(signal.SIGKILL)
        return f"killed {len(loads)}"

    def kill_plan(self) -> str:
        """Kill -9 the next plan at some moment of its work."""
        runs = self.scheduler.runs
        if not waiting.poll(
            lambda: self.scheduler.runs > runs and self.scheduler.planning is not None, seconds=30
        ):
            return "no plan was made"
        time.sleep(self.rng.uniform(0.0, 1.0))
        planning = self.scheduler.planning
        if planning is None or not planning.process.is_alive():
            return "the plan was quicker"
        planning.process.kill()
        return f"killed the plan of run {self.scheduler.runs}"

    def pause_worker(self) -> str:
        """Freeze a worker past its lease, start its successor, and wake it beside that."""
        loads = waiting.poll(self.scheduler.loading, seconds=30)
        if not loads:
            return "no worker ran"
        load = self.rng.choice(loads)
        load.send(signal.SIGSTOP)
        self.scheduler.abandon(load)
        time.sleep(self.stack.settings.ingest_lease_seconds * self.rng.uniform(0.5, 1.5))
        successor = self.await_progress(1)
        load.send(signal.SIGCONT)
        if not waiting.poll(lambda: not load.process.is_alive(), seconds=60):
            raise RuntimeError("a worker that lost its lease went on")
        return f"woke beside its successor, which had {'loaded' if successor else 'not loaded'}"

    def cut(self, where: str) -> str:
        """Cut the next insert's connection."""
        before = self.proxy.cuts
        self.proxy.arm(where)
        happened = waiting.poll(lambda: self.proxy.cuts > before, seconds=30)
        self.proxy.disarm()
        return "cut" if happened else "no insert came"

    def between(self, change: Action) -> str:
        """Kill every worker in the middle of its work, and change the models before they repeat."""
        killed = self.kill_every_worker()
        return f"{killed}; {change()}"

    def actions(self) -> dict[str, Action]:
        """Every fault by its name."""
        servers = self.servers()
        changes = {name: servers.pop(name) for name in ("alter_views", "deploy_models")}
        return {
            **{name: partial(self.between, change) for name, change in changes.items()},
            "kill_worker": self.kill_worker,
            "kill_every_worker": self.kill_every_worker,
            "kill_plan": self.kill_plan,
            "pause_worker": self.pause_worker,
            "cut_reply": lambda: self.cut("reply"),
            "cut_request": lambda: self.cut("request"),
            **servers,
        }


class AirflowInjector(Injector):
    """Faults of Airflow itself, and of the tasks of ``ingest_events`` that it runs."""

    def _tasks(self) -> list[tuple[str, psutil.Process, psutil.Process]]:
        """Return (name, supervisor, task) of every task of ingest that runs now."""
        names = self._running()
        found = []
        for process in psutil.Process(self.stack.pid("scheduler")).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
                title, _, task_id = " ".join(process.cmdline()).strip().partition(" -- ")
                supervisor = process.parent()
                if title == "airflow worker" and task_id in names and supervisor is not None:
                    found.append((names[task_id], supervisor, process))
        return found

    def _running(self) -> dict[str, str]:
        """Ask Airflow for the running tasks of ingest, by their ids; none while it is down."""
        try:
            with airflow.api(self.stack.settings, self.stack.secrets) as api:
                answer = api.get(
                    "/dags/ingest_events/dagRuns/~/taskInstances", params={"state": "running"}
                )
                rows = answer.raise_for_status().json()["task_instances"]
        except httpx.HTTPError:
            return {}
        return {row["id"]: f"{row['task_id']} {row['rendered_map_index'] or ''}" for row in rows}

    def kill_task(self) -> str:
        """Kill -9 the process of a task."""
        return self._kill(lambda _supervisor, task: task)

    def kill_task_supervisor(self) -> str:
        """Kill -9 the supervisor that Airflow gave a task; the task's process is an orphan then."""
        return self._kill(lambda supervisor, _task: supervisor)

    def _kill(self, victim: Callable[[psutil.Process, psutil.Process], psutil.Process]) -> str:
        tasks = waiting.poll(self._tasks, seconds=120)
        if not tasks:
            return "no task ran"
        name, supervisor, task = self.rng.choice(tasks)
        try:
            victim(supervisor, task).kill()
        except psutil.NoSuchProcess:
            return f"{name.strip()} had ended"
        return f"killed that of {name.strip()}"

    def actions(self) -> dict[str, Action]:
        """Every fault by its name."""
        return {
            "kill_task": self.kill_task,
            "kill_task_supervisor": self.kill_task_supervisor,
            "kill_scheduler": lambda: self.kill_server("scheduler"),
            **self.servers(),
        }
