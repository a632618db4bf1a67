"""The HTTP interface: one ASGI application that speaks ClickHouse's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from millrace.stack.engine import form
from millrace.stack.engine.compression import negotiate
from millrace.stack.engine.config import EngineConfig, User
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.exchange import (
    AbortedResponseError,
    Body,
    ClientGoneError,
    Message,
    Receive,
    Reply,
    Send,
    Watch,
)
from millrace.stack.engine.execution import CHUNK, Execution
from millrace.stack.engine.handles import Handle, HandlePool, Session, Sessions, quote
from millrace.stack.engine.request import Request, external_table
from millrace.stack.engine.statement import Statement, scan

T = TypeVar("T")

log = logging.getLogger("millrace.engine")

STATEMENT_BYTES = 16 << 20
"""Longest statement, inline data apart; the engine's ``max_query_size`` is the same."""

FORM_BYTES = 256 << 20
WAIT_BYTES = 16 << 20
"""Of a ``wait_end_of_query`` response held back for its status; a longer one starts to flow."""


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
        await self._on_control("KILL QUERY WHERE query_id != queryID() ASYNC")
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
        reply = Reply(send, self._config)
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
        except ClientGoneError as error:
            log.info("query %s: the client went away", reply.query_id)
            raise AbortedResponseError from error

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
            request.database(), request.settings, request.parameters, self,
        )  # fmt: skip
        execution.external = external
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
        """Give the engine the data, and read on while it takes what came before."""
        data = text[statement.data_start :]
        if not body.ended:
            data += await body.read(CHUNK - len(data))
        loop = asyncio.get_running_loop()
        call = partial(execution.insert, statement, data, is_last=body.ended)
        taking: asyncio.Future[None] = loop.run_in_executor(self._threads, call)
        try:
            while not body.ended:
                reading = asyncio.ensure_future(body.read(CHUNK))
                both: set[asyncio.Future[Any]] = {taking, reading}
                await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
                if not reading.done():
                    reading.cancel()  # the engine has refused what came before
                await taking
                more = await reading
                call = partial(execution.append, more, is_last=body.ended)
                taking = loop.run_in_executor(self._threads, call)
        finally:
            await asyncio.wait({taking})
        await taking

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
        watch.task()
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
            await self._blocking(lambda: self.kill(handle))

    def kill(self, handle: Handle) -> None:
        """Ask the engine to end a handle's query. Blocks."""
        sql = f"KILL QUERY WHERE Settings['log_comment'] = {quote(handle.tag)} ASYNC"
        self._control_thread.submit(self._control_query, sql).result()

    def engine_id(self, query_id: str) -> str | None:
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
