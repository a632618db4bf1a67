"""A process of the ingestion API without its HTTP: delivers what it is told, and says when."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from millrace.api.http import ProblemError
from millrace.api.ingestion.delivery import Delivery, Record
from millrace.settings import Settings


class Worker:
    """The process, and the pipe to it."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(settings.model_dump(), theirs))
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"

    def deliver(self, records: Sequence[Record]) -> bool:
        """Return whether the records were acknowledged."""
        self.hand_over(records)
        return bool(self._pipe.recv())

    def hand_over(self, records: Sequence[Record]) -> None:
        """Hand records over without waiting."""
        self._pipe.send([tuple(record) for record in records])

    def kill(self) -> None:
        """End it as the kernel would."""
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        """Let it end in good order."""
        if self._process.is_alive():
            self._pipe.send(None)
            self._process.join(60)
            assert self._process.exitcode == 0


@contextmanager
def workers(settings: Settings, count: int) -> Iterator[list[Worker]]:
    """Have processes that share a spool."""
    started = [Worker(settings) for _ in range(count)]
    try:
        yield started
        for worker in started:
            worker.end()
    finally:
        for worker in started:
            worker.kill()


def _work(settings: dict[str, Any], pipe: Connection) -> None:
    asyncio.run(_serve(Settings(**settings), pipe))


async def _serve(settings: Settings, pipe: Connection) -> None:
    delivery = Delivery(settings)
    await delivery.start()
    pipe.send("ready")
    while (told := await asyncio.to_thread(pipe.recv)) is not None:
        try:
            await delivery.deliver([Record(*one) for one in told])
        except ProblemError:
            pipe.send(False)
        else:
            pipe.send(True)
    await delivery.close()
