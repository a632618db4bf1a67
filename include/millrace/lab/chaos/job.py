"""Ingest jobs in processes of their own, so that kill -9 takes from them what it takes from a task.

Processes are forked from one that has everything imported (as Airflow's task runner does), so that
a new attempt begins at once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

_context: ForkServerContext = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", "millrace.ingest.plan", "millrace.ingest.worker"])


def start_plan(environment: dict[str, str], log: Path, run_id: str, attempt: int) -> Planning:
    """Start the plan of a run."""
    receiving, sending = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_plan, args=(environment, log, run_id, attempt, sending), daemon=True
    )
    process.start()
    sending.close()
    return Planning(process, receiving)


class Planning:
    """A plan being made."""

    def __init__(self, process: ForkServerProcess, pipe: Connection) -> None:
        self.process = process
        self._pipe = pipe

    def is_over(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the plan, or for its process to die."""
        return self._pipe.poll(seconds)

    def shares(self) -> list[dict[str, Any]] | None:
        """Wait for the plan; ``None`` if its process died."""
        try:
            shares: list[dict[str, Any]] = self._pipe.recv()
        except EOFError:
            return None
        finally:
            self._pipe.close()
            self.process.join()
        return shares


def start_load(
    environment: dict[str, str],
    log: Path,
    run_id: str,
    attempt: int,
    share: dict[str, Any],
    seconds: float,
) -> ForkServerProcess:
    """Start loading a share for so many seconds."""
    process = _context.Process(
        target=_load, args=(environment, log, run_id, attempt, share, seconds), daemon=True
    )
    process.start()
    return process


def _prepare(environment: dict[str, str], log: Path) -> None:
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)  # librdkafka tells every attempt to reconnect
    form = "%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, filename=log, force=True)


def _plan(
    environment: dict[str, str], log: Path, run_id: str, attempt: int, pipe: Connection
) -> None:
    from millrace.ingest.plan import plan
    from millrace.settings import Settings

    _prepare(environment, log)
    try:
        pipe.send(plan(Settings(), run_id, attempt))
    except Exception:
        logging.getLogger(__name__).exception("the plan of %s failed", run_id)
        raise SystemExit(1) from None


def _load(
    environment: dict[str, str],
    log: Path,
    run_id: str,
    attempt: int,
    share: dict[str, Any],
    seconds: float,
) -> None:
    from millrace.ingest.worker import Share, Worker
    from millrace.settings import Settings

    _prepare(environment, log)
    logger = logging.getLogger(__name__)
    try:
        done = Worker(Settings(), Share.from_dict(share), run_id, attempt).run(seconds)
        logger.info("%s attempt %d ended: %s", run_id, attempt, done.as_dict())
    except Exception:
        logger.exception("a load of %s failed", run_id)
        raise SystemExit(1) from None
