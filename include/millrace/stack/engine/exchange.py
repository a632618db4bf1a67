"""Both directions of one HTTP exchange: the client's body, its going away, and the reply."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from millrace.stack.engine.compression import Decoder, Encoder
from millrace.stack.engine.config import EngineConfig
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.execution import Execution

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "XML": "application/xml; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
}


class ClientGoneError(Exception):
    """The client closed the connection, or takes nothing from it any more."""


class AbortedResponseError(Exception):
    """A response broke off after its head; raised so that the server cuts the connection."""


class Body:
    """A request's body, decoded as it arrives."""

    def __init__(self, receive: Receive, encoding: str, seconds: float) -> None:
        self._receive, self._seconds = receive, seconds
        self._decoder = Decoder(encoding) if encoding not in ("", "identity") else None
        self.ended = False

    async def read(self, size: int) -> bytes:
        """Return at least ``size`` bytes, or what is left. Raises ``ClientGoneError``."""
        pieces: list[bytes] = []
        length = 0
        while length < size and not self.ended:
            try:
                async with asyncio.timeout(self._seconds):
                    message = await self._receive()
            except TimeoutError as error:
                raise EngineError.named(
                    "TIMEOUT_EXCEEDED", f"No data from the client for {self._seconds} seconds."
                ) from error
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            data = message.get("body", b"")
            self.ended = not message.get("more_body", False)
            decoded = [data] if self._decoder is None else list(self._decoder.feed(data))
            if self.ended and self._decoder is not None:
                self._decoder.finish()
            pieces += decoded
            length += sum(map(len, decoded))
        return b"".join(pieces)


class Watch:
    """Notices that the client has closed the connection, once its body is read."""

    def __init__(self, receive: Receive, body: Body) -> None:
        self._receive, self._body = receive, body
        self._task: asyncio.Task[None] | None = None

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def task(self) -> asyncio.Task[None]:
        """Return the task that ends when the client is gone."""
        if self._task is None:
            self._task = asyncio.create_task(self._until_gone())
        return self._task

    def is_gone(self) -> bool:
        """Tell whether the client is known to have gone."""
        return self._task is not None and self._task.done()

    def cancel(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()


class Reply:
    """The response to a statement: headers, body, compression, and errors at any point."""

    def __init__(self, send: Send, config: EngineConfig) -> None:
        self.send = send
        self.query_id = ""
        self._seconds = config.body_seconds
        self.encoding: str | None = None
        self._display_name = config.display_name
        self._encoder: Encoder | None = None
        self._tag = ""

    def _headers(self, execution: Execution | None) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-clickhouse-server-display-name", self._display_name.encode()),
            (b"x-clickhouse-query-id", self.query_id.encode("latin-1", "replace")),
            (b"x-clickhouse-timezone", b"UTC"),
        ]
        if execution is not None:
            name = execution.format
            kind = _CONTENT_TYPES.get(name)
            if kind is None:
                kind = "application/json" if name.startswith("JSON") else "text/plain"
                kind += "; charset=UTF-8"
            headers += [
                (b"content-type", kind.encode()),
                (b"x-clickhouse-summary", execution.progress.summary().encode()),
            ]
            if execution.has_result:  # clients tell results from acknowledgements by it
                headers.append((b"x-clickhouse-format", name.encode("ascii", "replace")))
        return headers

    async def finish(self, execution: Execution, chunks: list[bytes]) -> None:
        """Send a whole response."""
        body = b"".join(chunks)
        headers = self._headers(execution)
        if self.encoding and body:
            encoder = Encoder(self.encoding)
            body = encoder.encode(body) + encoder.finish()
            headers.append((b"content-encoding", self.encoding.encode()))
        await self._whole(200, headers, body)

    async def begin(self, execution: Execution) -> None:
        """Send the head of a response whose body follows in pieces."""
        self._tag = secrets.token_hex(8)
        headers = self._headers(execution)
        headers.append((b"x-clickhouse-exception-tag", self._tag.encode()))
        if self.encoding:
            self._encoder = Encoder(self.encoding)
            headers.append((b"content-encoding", self.encoding.encode()))
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._encoder is not None:
            data = self._encoder.encode(data)
        if data:
            try:
                async with asyncio.timeout(self._seconds):
                    await self.send({"type": "http.response.body", "body": data, "more_body": True})
            except TimeoutError as error:
                raise ClientGoneError from error

    async def end(self) -> None:
        """End a body sent in pieces."""
        rest = self._encoder.finish() if self._encoder is not None else b""
        await self.send({"type": "http.response.body", "body": rest})

    async def fail(self, error: EngineError) -> None:
        """Report an error: as the response, or inside one that has begun.

        Inside, it is written as ClickHouse does since 25.11, between markers with the tag of the
        ``X-ClickHouse-Exception-Tag`` header, and the connection is cut. Raises
        ``AbortedResponseError`` then.
        """
        if self._tag:
            text = error.text.encode()
            tag = self._tag.encode()
            await self.write(
                b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n"
                % (tag, text, len(text) + 1, tag)
            )
            if self._encoder is not None:
                await self.send(
                    {
                        "type": "http.response.body",
                        "body": self._encoder.finish(),
                        "more_body": True,
                    }
                )
            raise AbortedResponseError
        headers = [
            *self._headers(None),
            (b"content-type", b"text/plain; charset=UTF-8"),
            (b"x-clickhouse-exception-code", str(error.code).encode()),
        ]
        if error.status == 401:
            headers.append((b"www-authenticate", b'Basic realm="ClickHouse server HTTP API"'))
        await self._whole(error.status, headers, error.text.encode() + b"\n")

    async def _whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
