"""An ingest scheduler without Airflow: plans and loads, run after run, and restarts what died.

It stands in for Airflow where a campaign is about workers and servers, with the same contract: a
plan, mapped loads, a new attempt for one that failed or was not heard of any more; and the next run
begins while the last one loads, on time or as soon as a load ended early.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from millrace.lab.chaos import job

POLL_SECONDS = 0.05


@dataclass
class Load:
    """A share in the hands of a process, until ``ends`` (``time.monotonic``) at the latest."""

    run_id: str
    share: dict[str, Any]
    attempt: int
    ends: float
    process: ForkServerProcess

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still lives."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)


class IngestScheduler:
    """Keeps ingest going in processes until told to stop.

    ``environment`` is what the processes see, ``log`` the file they write to, and ``run_seconds``
    the time from one run to the next.
    """

    def __init__(self, environment: dict[str, str], log: Path, run_seconds: float) -> None:
        self.environment = environment
        self.log = log
        self.run_seconds = run_seconds
        self.runs = 0
        self.planning: job.Planning | None = None
        self._loads: list[Load] = []
        self._abandoned: list[Load] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ingest-scheduler", daemon=True)

    def start(self) -> None:
        """Begin the first run."""
        self._thread.start()

    def stop(self) -> None:
        """Kill what still runs and reap it; whatever it left open is the next one's."""
        self._stopping.set()
        with self._lock:
            planning = self.planning
            left = [*self._loads, *self._abandoned]
        if planning is not None:
            planning.process.kill()
        for load in left:
            load.send(signal.SIGKILL)
            load.process.join()
        if self._thread.is_alive():
            self._thread.join()

    def loading(self) -> list[Load]:
        """The loads that run now."""
        with self._lock:
            return [load for load in self._loads if load.process.is_alive()]

    def abandon(self, load: Load) -> None:
        """Give a load up for lost though its process may live, and start its next attempt."""
        with self._lock:
            self._abandoned.append(load)
            if load in self._loads:
                self._loads.remove(load)
                self._loads.append(self._next_attempt(load))

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.runs += 1
            began = time.monotonic()
            shares = self._plan()
            ends = began + 2 * self.run_seconds
            with self._lock:
                self._loads += [self._load(self._run_id, share, 1, ends) for share in shares]
            while self._tend() and time.monotonic() < began + self.run_seconds:
                if self._stopping.wait(POLL_SECONDS):
                    return

    def _tend(self) -> bool:
        """Start dead loads again; return whether all of the last run are at work."""
        is_complete = True
        with self._lock:
            for load in list(self._loads):
                if load.process.is_alive():
                    continue
                self._loads.remove(load)
                if load.process.exitcode != 0 and time.monotonic() < load.ends:
                    self._loads.append(self._next_attempt(load))
                elif load.run_id == self._run_id:
                    is_complete = False
        return is_complete

    def _plan(self) -> list[dict[str, Any]]:
        attempt = 0
        while not self._stopping.is_set():
            attempt += 1
            planning = job.start_plan(self.environment, self.log, self._run_id, attempt)
            with self._lock:
                self.planning = planning
            while not planning.is_over(POLL_SECONDS):
                self._tend()
            shares = planning.shares()
            if shares is not None:
                return shares
            self._stopping.wait(0.5)
        return []

    def _next_attempt(self, load: Load) -> Load:
        return self._load(load.run_id, load.share, load.attempt + 1, load.ends)

    def _load(self, run_id: str, share: dict[str, Any], attempt: int, ends: float) -> Load:
        seconds = max(1.0, ends - time.monotonic())
        process = job.start_load(self.environment, self.log, run_id, attempt, share, seconds)
        return Load(run_id, share, attempt, ends, process)

    @property
    def _run_id(self) -> str:
        return f"chaos-{self.runs}"
