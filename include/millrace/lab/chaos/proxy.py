"""A TCP proxy that cuts a connection at the worst moment.

It sits between the loader and ClickHouse, or between a sender and the ingestion API. Armed, it lets
the next request that matters through to the server, waits until the server answers, and closes the
connection without passing the answer on: applied, and nobody knows. Or it cuts the request in its
middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future

MARK = b"insert_deduplication_token="
"""What the loader's inserts into kept tables have in their request line, and nothing else has."""

CHUNK = 1 << 16


class Proxy:
    """Listens on a port of its own choosing and forwards to ``port`` on loopback.

    ``mark`` is what the requests that matter have in their first line, and nothing else has.
    """

    def __init__(self, port: int, mark: bytes = MARK) -> None:
        self.target = port
        self.mark = mark
        self.port = 0
        self.cuts = 0
        self._armed = ""
        self._loop = asyncio.new_event_loop()
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self.port = self._ready.result(timeout=10)

    def stop(self) -> None:
        """Close every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def arm(self, where: str) -> None:
        """Cut the next request at its ``"reply"`` or in its ``"request"``."""
        self._armed = where

    def disarm(self) -> None:
        """Cut nothing any more."""
        self._armed = ""

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def listen() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self._ready.set_result(server.sockets[0].getsockname()[1])

        self._loop.run_until_complete(listen())
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _connection(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_client.transport.abort()
            return
        doomed = False

        def on_request(data: bytes) -> bytes:
            nonlocal doomed
            if self.mark not in data or not self._armed:
                return data
            where, self._armed = self._armed, ""
            self.cuts += 1
            if where == "request":
                raise ConnectionAbortedError
            doomed = True
            return data

        def on_reply(data: bytes) -> bytes:
            if doomed:
                raise ConnectionAbortedError
            return data

        halves = [
            asyncio.ensure_future(_pump(client, to_server, on_request)),
            asyncio.ensure_future(_pump(server, to_client, on_reply)),
        ]
        try:
            # Cancelled when the proxy stops; the server's own callback would tell it as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            to_client.transport.abort()
            to_server.transport.abort()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, look: Callable[[bytes], bytes]
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            sink.write(look(data))
            await sink.drain()
