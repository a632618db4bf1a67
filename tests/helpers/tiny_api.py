"""An ingestion API of a few lines, whose answers a test loses or refuses as it likes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from millrace.api.http import ProblemError
from millrace.api.ingestion.delivery import Delivery, Record
from millrace.settings import Settings


@contextmanager
def serving(settings: Settings, answer: Callable[[int], int | None]) -> Iterator[str]:
    """Serve; ``answer`` says, by a request's number, which status it gets once it is durable.

    None cuts the connection instead. Yields the address.
    """
    loop = asyncio.new_event_loop()
    delivery = Delivery(settings)
    count = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = [
                    line.partition(b":")[2]
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ]
                events = json.loads(await reader.readexactly(int(lengths[0])))
                count += 1
                status = answer(count)
                try:
                    await delivery.deliver([_record(settings, event) for event in events])
                except ProblemError as problem:
                    status = problem.status
                if status is None:
                    break
                writer.write(b"HTTP/1.1 %d .\r\nContent-Length: 0\r\n\r\n" % status)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    async def start() -> int:
        await delivery.start()
        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(delivery.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _record(settings: Settings, event: dict[str, Any]) -> Record:
    value = json.dumps(event).encode()
    return Record(settings.events_topic, b"%d" % event["user_id"], value, None)
