"""The HTTP interface: one ASGI application that speaks ClickHouse's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from millrace.stack.engine import form
from millrace.stack.engine.compression import Decoder, Encoder, negotiate
from millrace.stack.engine.config import EngineConfig, User
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.execution import CHUNK, Execution
from millrace.stack.engine.handles import Handle, HandlePool, Session, Sessions, quote
from millrace.stack.engine.request import Request, external_table
from millrace.stack.engine.statement import Statement, scan

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

log = logging.getLogger("millrace.engine")

STATEMENT_BYTES = 16 << 20
"""Longest statement, inline data apart; the engine's ``max_query_size`` is the same."""

FORM_BYTES = 256 << 20
WAIT_BYTES = 16 << 20
"""Of a ``wait_end_of_query`` response held back for its status; a longer one starts to flow."""

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
    """The client closed the connection."""


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


class App:
    """The ASGI application over one data directory."""

    def __init__(self, config: EngineConfig, pool: HandlePool) -> None:
        self._config, self._pool = config, pool
        # A framed result takes two threads: one writes into the pipe, one reads from it.
        self._threads = ThreadPoolExecutor(2 * config.max_concurrent + 2, "engine")
        self._control_thread = ThreadPoolExecutor(1, "engine-control")
        self._control: Handle | None = None
        self._places = asyncio.Semaphore(config.max_concurrent)
        self._queued = 0
        self._sessions = Sessions()
        self._running: dict[str, Execution] = {}
        self._reaper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection's request or the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._control = await self._blocking(self._pool.open, User(name="engine"), control=True)
        self._reaper = asyncio.create_task(self._reap())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._reaper.cancel()
        for execution in list(self._running.values()):
            await self._kill(execution)
        for handle in self._sessions.expire(everything=True):
            handle.close()
        self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _reap(self) -> None:
        """Close expired sessions, once a second."""
        while True:
            await asyncio.sleep(1)
            for handle in self._sessions.expire():
                await self._blocking(handle.close)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in ("/ping", "/replicas_status"):
            await self._answer(send, 200, b"Ok.\n" if path == "/ping" else b"")
        elif path == "/health":
            await self._health(send)
        elif path not in ("/", "/query"):
            await self._answer(send, 404, f"There is no handle {path}.\n".encode())
        elif scope["method"] not in ("GET", "POST", "HEAD", "PUT"):
            await self._answer(send, 501, b"Use GET or POST.\n")
        else:
            await self._statement(scope, receive, send)

    async def _answer(
        self, send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        head = headers or [(b"content-type", b"text/plain; charset=UTF-8")]
        head = [*head, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _health(self, send: Send) -> None:
        """Report load and whether the engine itself answers."""
        try:
            async with asyncio.timeout(5):
                await self._on_control("SELECT 1")
            status = 200
        except (TimeoutError, RuntimeError):
            status = 503
        report = {
            "status": "ok" if status == 200 else "the engine does not answer",
            "running": len(self._running),
            "queued": self._queued,
            "sessions": len(self._sessions),
            "max_concurrent": self._config.max_concurrent,
        }
        await self._answer(
            send, status, json.dumps(report).encode(), [(b"content-type", b"application/json")]
        )

    async def _statement(self, scope: Message, receive: Receive, send: Send) -> None:
        """Authenticate, wait for a place, run the statement, and answer for its errors."""
        reply = Reply(send, self._config.display_name)
        try:
            request = Request.of_scope(scope)
            reply.query_id = request.transport.get("query_id") or str(uuid.uuid4())
            user = request.authenticate(self._config.users)
            body = Body(
                receive,
                request.header(b"content-encoding").strip().lower(),
                self._config.body_seconds,
            )
            if request.flag("enable_http_compression"):
                reply.encoding = negotiate(request.header(b"accept-encoding"))
            with self._session(request, user) as session, self._registered(reply.query_id):
                async with self._place():
                    last = await self._run(request, user, session, body, receive, reply)
            # A client may ask again the moment it has the last byte, so that leaves at last,
            # when session, place and handle are free.
            await last()
        except EngineError as error:
            log.info("query %s failed with code %d", reply.query_id, error.code)
            await reply.fail(error)
        except ClientGoneError:
            log.info("query %s: the client went away", reply.query_id)

    @contextlib.contextmanager
    def _session(self, request: Request, user: User) -> Any:
        name = request.transport.get("session_id")
        if not name:
            yield None
            return
        session = self._sessions.enter(
            user.name,
            name,
            must_exist=request.flag("session_check"),
            seconds=request.transport.get("session_timeout"),
        )
        try:
            yield session
        finally:
            handle = self._sessions.leave(
                user.name, name, close=request.flag("close_session") or session.handle is None
            )
            if handle is not None:
                handle.close()

    @contextlib.contextmanager
    def _registered(self, query_id: str) -> Any:
        if query_id in self._running:
            raise EngineError.named(
                "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
                f"Query with id = {query_id} is already running.",
            )
        try:
            yield
        finally:
            self._running.pop(query_id, None)

    @contextlib.asynccontextmanager
    async def _place(self) -> Any:
        """Wait for one of the places at which queries run."""
        if self._places.locked():
            if self._queued >= self._config.max_queued:
                raise EngineError.named(
                    "TOO_MANY_SIMULTANEOUS_QUERIES",
                    f"{self._config.max_concurrent} queries run and {self._queued} wait; "
                    "try again later.",
                )
            self._queued += 1
            try:
                async with asyncio.timeout(self._config.queue_seconds):
                    await self._places.acquire()
            except TimeoutError as error:
                raise EngineError.named(
                    "TOO_MANY_SIMULTANEOUS_QUERIES",
                    f"No place for the query within {self._config.queue_seconds} seconds; "
                    "try again later.",
                ) from error
            finally:
                self._queued -= 1
        else:
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _run(
        self,
        request: Request,
        user: User,
        session: Session | None,
        body: Body,
        receive: Receive,
        reply: Reply,
    ) -> Callable[[], Awaitable[None]]:
        """Run the statement, stream its result, and return what sends the response's end."""
        external: list[tuple[str, str, str, bytes]] = []
        head = request.query + b"\n" if request.query else b""
        content_type = request.header(b"content-type")
        if content_type.startswith("multipart/form-data"):
            parsed = form.parse(content_type, await self._whole(body, b"", FORM_BYTES))
            for name, value in parsed.fields.items():
                request.add(name, value)
            head = request.query
            for name, data in parsed.files.items():
                fields = {**request.settings, **parsed.fields}
                external.append((name, *external_table(fields, name), data))
                for suffix in ("structure", "types", "format"):
                    request.settings.pop(f"{name}_{suffix}", None)
        text, statement = await self._read_statement(head, body)
        if statement is None:
            return lambda: self._answer(reply.send, 200, b"Ok.\n")
        execution = Execution(
            self._pool, self._threads, user, session,
            request.database(), request.settings, request.parameters,
        )  # fmt: skip
        execution.external = external
        execution.engine_ids = self._engine_id
        self._running[reply.query_id] = execution
        is_clean = False
        watch = Watch(receive, body)
        try:
            if statement.data_format is not None:
                if request.method in ("GET", "HEAD"):
                    raise EngineError.named("READONLY", "Method GET implies readonly; use POST.")
                await self._insert(execution, statement, text, body)
                chunks: list[bytes] | None = []
            else:
                chunks = await self._select(execution, statement, request, reply, watch)
            is_clean = True
        finally:
            watch.cancel()
            await self._blocking(lambda: execution.close(is_clean=is_clean))
        return reply.end if chunks is None else lambda: reply.finish(execution, chunks)

    async def _whole(self, body: Body, head: bytes, limit: int) -> bytes:
        pieces, size = [head], len(head)
        while not body.ended:
            pieces.append(await body.read(CHUNK))
            size += len(pieces[-1])
            if size > limit:
                raise EngineError.named(
                    "QUERY_IS_TOO_LARGE", f"The statement is longer than {limit} bytes."
                )
        return b"".join(pieces)

    async def _read_statement(self, head: bytes, body: Body) -> tuple[bytes, Statement | None]:
        """Read as much of the body as it takes to know the statement.

        Returns the text read so far, with inline data where it begun, and the statement; None
        for a request without any.
        """
        text = head + (await body.read(CHUNK // 4) if not body.ended else b"")
        if not text.strip() and body.ended:
            return text, None
        statement = scan(text, complete=body.ended)
        if statement is None:
            text = await self._whole(body, text, STATEMENT_BYTES)
            statement = scan(text, complete=True)
        return text, statement

    async def _insert(
        self, execution: Execution, statement: Statement, text: bytes, body: Body
    ) -> None:
        data = text[statement.data_start :]
        if not body.ended:
            data += await body.read(CHUNK - len(data))
        await self._blocking(lambda: execution.insert(statement, data, is_last=body.ended))
        while not body.ended:
            more = await body.read(CHUNK)
            await self._blocking(lambda more=more: execution.append(more, is_last=body.ended))

    async def _select(
        self,
        execution: Execution,
        statement: Statement,
        request: Request,
        reply: Reply,
        watch: Watch,
    ) -> list[bytes] | None:
        """Run a statement without inline data; return its whole result, or None if it flowed."""
        default_format = (
            request.transport.get("default_format")
            or request.header(b"x-clickhouse-format")
            or "TabSeparated"
        )
        waits = request.flag("wait_end_of_query")
        chunks, is_all = await self._attended(
            execution,
            lambda: execution.start(
                statement,
                default_format,
                read_only=request.method in ("GET", "HEAD"),
                budget=WAIT_BYTES if waits else CHUNK,
            ),
            watch,
        )
        if is_all:
            return chunks
        await reply.begin(execution)
        for chunk in chunks:
            await reply.write(chunk)
        while data := await self._attended(execution, execution.read, watch):
            await reply.write(data)
            if watch.is_gone():
                raise ClientGoneError
        return None

    async def _attended(self, execution: Execution, call: Callable[[], T], watch: Watch) -> T:
        """Run a blocking call; should the client go away meanwhile, kill a query that reads."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        await asyncio.wait({future}, timeout=0.05)
        while not future.done():
            either: set[asyncio.Future[Any]] = {future, watch.task()}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                break
            if not execution.is_read:  # what changes data is carried out, as by ClickHouse
                await asyncio.wait({future})
                break
            await self._kill(execution)
            await asyncio.wait({future}, timeout=0.2)
        if watch.is_gone():
            with contextlib.suppress(EngineError):
                future.result()
            raise ClientGoneError
        return future.result()

    async def _kill(self, execution: Execution) -> None:
        handle = execution.handle
        if handle is not None:
            await self._on_control(
                f"KILL QUERY WHERE Settings['log_comment'] = {quote(handle.tag)} ASYNC"
            )

    def _engine_id(self, query_id: str) -> str | None:
        """Return the id under which the engine runs a client's query. Blocks."""
        execution = self._running.get(query_id)
        handle = execution.handle if execution is not None else None
        if handle is None:
            return None
        tag = quote(handle.tag)
        sql = f"SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {tag}"  # noqa: S608
        found = self._control_thread.submit(self._control_query, sql).result()
        return found.strip() or None

    def _control_query(self, sql: str) -> str:
        if self._control is None:
            raise RuntimeError("the engine is not started")
        return str(self._control.connection.query(sql, "TabSeparated").bytes().decode())

    async def _on_control(self, sql: str) -> str:
        """Run a statement of the server's own beside those of the clients."""
        return await self._blocking(lambda: self._control_query(sql), control=True)

    async def _blocking(self, call: Callable[..., T], *arguments: Any, control: bool = False) -> T:
        threads = self._control_thread if control else self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, call, *arguments)


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

    def __init__(self, send: Send, display_name: str) -> None:
        self.send = send
        self.query_id = ""
        self.encoding: str | None = None
        self._display_name = display_name
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
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

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
