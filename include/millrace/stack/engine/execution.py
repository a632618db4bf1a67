"""One statement on one handle. Everything here blocks and runs on the engine's threads."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from millrace.stack.engine.config import User
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.handles import Handle, HandlePool, Session, identifier, quote
from millrace.stack.engine.statement import Statement, tokens

CHUNK = 1 << 20

_SEAMLESS = frozenset(
    {"Native", "RowBinary", "JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow"}
)
"""Formats whose blocks, written one by one, join to what one writing gives (no frame around)."""

_FILE_FUNCTIONS = frozenset({b"FILE", b"FILECLUSTER", b"EXECUTABLE", b"PYTHON"})
_UNFILTERED_FUNCTIONS = frozenset(
    {b"MERGE", b"LOOP", b"REMOTE", b"REMOTESECURE", b"CLUSTER", b"CLUSTERALLREPLICAS", b"JOINGET"}
    | {b"MERGETREEINDEX", b"MERGETREEPROJECTION", b"MERGETREETEXTINDEX", b"DICTGET"}
)
"""Functions that read a table past ``additional_table_filters``."""


def _not_utf8(error: UnicodeDecodeError) -> EngineError:
    return EngineError.named("SYNTAX_ERROR", f"The statement is not UTF-8: {error}.")


@dataclass(slots=True)
class Progress:
    """What a query has read, written and returned so far."""

    started: float = field(default_factory=time.monotonic)
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    def count(self, part: Any) -> None:
        """Add a ``query_result`` of chDB, whose ``rows_read`` are the rows it returns."""
        self.read_rows = max(self.read_rows, part.storage_rows_read())
        self.read_bytes = max(self.read_bytes, part.storage_bytes_read())
        self.written_rows += part.rows_written()
        self.written_bytes += part.bytes_written()
        self.result_rows += part.rows_read()
        self.result_bytes += part.size()

    def summary(self) -> str:
        """Return the value of ``X-ClickHouse-Summary``."""
        return json.dumps(
            {
                "read_rows": str(self.read_rows),
                "read_bytes": str(self.read_bytes),
                "written_rows": str(self.written_rows),
                "written_bytes": str(self.written_bytes),
                "total_rows_to_read": "0",
                "result_rows": str(self.result_rows),
                "result_bytes": str(self.result_bytes),
                "elapsed_ns": str(int((time.monotonic() - self.started) * 1e9)),
            },
            separators=(",", ":"),
        )


class Source(Protocol):
    """Where the bytes of a result come from."""

    def read(self) -> bytes:
        """Return the next bytes, none at the end. Raises ``RuntimeError`` as chDB does."""

    def close(self) -> None:
        """Stop the query if it still runs."""


class _Whole:
    """The result of a statement that the engine returns in one piece."""

    def __init__(self, result: Any, progress: Progress) -> None:
        progress.count(result)
        self._data: bytes = result.bytes()

    def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        self._data = b""


class _Blocks:
    """The result of a SELECT, block by block, pulled from the engine."""

    def __init__(self, handle: Handle, result: Any, progress: Progress) -> None:
        self._handle, self._result, self._progress = handle, result, progress
        self._is_over = False

    def read(self) -> bytes:
        while not self._is_over:
            part = self._handle.connection.streaming_fetch_result(self._result)
            if part is None or not part.size():
                self._is_over = True
                break
            self._progress.count(part)
            data: bytes = part.bytes()
            return data
        return b""

    def close(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._handle.connection.streaming_cancel_query(self._result)


class _Pipe:
    """The result of a SELECT in a format with a frame around it, written into a pipe.

    chDB's block streaming repeats such a frame with every block, so the engine itself writes the
    whole file, and the pipe makes it wait for a slow client.
    """

    def __init__(
        self,
        handle: Handle,
        statement: Statement,
        output_format: str,
        parameters: dict[str, str],
        progress: Progress,
        threads: Executor,
        kill: Callable[[], None],
    ) -> None:
        self._kill = kill
        self._reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, CHUNK)
        target = f"\nINTO OUTFILE '/proc/self/fd/{writing}' TRUNCATE "
        head = statement.sql[: statement.format_start].decode()
        tail = statement.sql[statement.format_start :].decode()
        sql = head + target + (tail or f"FORMAT {identifier(output_format)}")
        self._progress = progress

        def run() -> Any:
            try:
                return handle.connection.query(sql, "Null", params=parameters)
            finally:
                os.close(writing)

        self._query: Future[Any] = threads.submit(run)

    def read(self) -> bytes:
        data = os.read(self._reading, CHUNK)
        if data:
            self._progress.result_bytes += len(data)
        else:
            result = self._query.result()
            size = self._progress.result_bytes
            self._progress.count(result)
            self._progress.result_bytes = size
        return data

    def close(self) -> None:
        os.close(self._reading)
        # Without a reader the engine goes on and writes into the void, so it has to be killed.
        while not self._query.done():
            self._kill()
            wait({self._query}, timeout=0.1)


class Control(Protocol):
    """What an execution needs to know of the others, and to end its own query."""

    def engine_id(self, query_id: str) -> str | None:
        """Return the id under which the engine runs a client's query."""

    def kill(self, handle: Handle) -> None:
        """Ask the engine to end a handle's query."""


class Execution:
    """A request's statement, from its handle to the end of its result or insert."""

    def __init__(
        self,
        pool: HandlePool,
        threads: Executor,
        user: User,
        session: Session | None,
        database: str | None,
        settings: dict[str, str],
        parameters: dict[str, str],
        control: Control,
    ) -> None:
        self._pool, self._threads, self._control = pool, threads, control
        self._user, self._session = user, session
        self._database, self._settings, self._parameters = database, settings, parameters
        self._insert: Any = None
        self._source: Source | None = None
        self._changes_handle = False
        self.handle: Handle | None = None
        self.progress = Progress()
        self.format = "TabSeparated"
        self.is_read = False
        self.has_result = False
        self.external: list[tuple[str, str, str, bytes]] = []

    def open(self) -> Handle:
        """Take a handle: the session's, or one from the pool."""
        session = self._session
        if session is None:
            settings = tuple(self._settings.items())
            self.handle = self._pool.acquire(self._user, self._database, settings)
        else:
            if session.handle is None:
                session.handle = self._pool.open(self._user)
            self.handle = session.handle
            self.handle.prepare(self._database, self._settings)
        for name, structure, data_format, data in self.external:
            self._changes_handle = True
            self._run(f"CREATE TEMPORARY TABLE {identifier(name)} ({structure})")
            loading = self.handle.connection.send_insert(
                f"INSERT INTO {identifier(name)}", data_format
            )
            self.handle.connection.insert_append(loading, data)
            self.handle.connection.insert_done(loading)
        return self.handle

    def start(
        self, statement: Statement, default_format: str, *, read_only: bool, budget: int
    ) -> tuple[list[bytes], bool]:
        """Run a statement and return its first bytes and whether they are all.

        Reading stops at ``budget`` bytes; the rest is for ``read``. Raises ``EngineError``.
        """
        try:
            handle = self.open()
            self._source = self._query(handle, statement, default_format, read_only=read_only)
            chunks: list[bytes] = []
            size, patience = 0, time.monotonic() + 0.2
            while data := self._source.read():
                chunks.append(data)
                size += len(data)
                if size >= budget or (budget <= CHUNK and time.monotonic() > patience):
                    return chunks, False
        except RuntimeError as error:
            raise EngineError.of_engine(error) from error
        return chunks, True

    def read(self) -> bytes:
        """Return the next bytes of the result, none at its end. Raises ``EngineError``."""
        if self._source is None:
            return b""
        try:
            return self._source.read()
        except RuntimeError as error:
            raise EngineError.of_engine(error) from error

    def insert(self, statement: Statement, data: bytes, *, is_last: bool) -> None:
        """Begin an INSERT with the first of its data. Raises ``EngineError``."""
        try:
            handle = self.open()
            if self._parameters:
                self._changes_handle = True
                handle.bind(self._parameters)
            self._insert = handle.connection.send_insert(
                statement.sql.decode(), statement.data_format
            )
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from error
        except RuntimeError as error:
            raise EngineError.of_engine(error) from error
        self.append(data, is_last=is_last)

    def append(self, data: bytes, *, is_last: bool) -> None:
        """Give the INSERT more data, and with the last of it carry it out."""
        connection = self._connection()
        try:
            if data:
                connection.insert_append(self._insert, data)
            if is_last:
                result = connection.insert_done(self._insert)
                self._insert = None
                self.progress.count(result)
        except RuntimeError as error:
            self._insert = None
            raise EngineError.of_engine(error) from error

    def close(self, *, is_clean: bool) -> None:
        """Stop what still runs, and give the handle back or close it."""
        if self._source is not None:
            self._source.close()
        handle, self.handle = self.handle, None
        if handle is None:
            return
        if self._insert is not None:
            handle.connection.insert_cancel(self._insert)
            self._insert = None
        if self._session is not None:
            for name, *_ in self.external:
                handle.connection.query(
                    f"DROP TEMPORARY TABLE IF EXISTS {identifier(name)}", "Null"
                )
        elif is_clean and not self._changes_handle:
            self._pool.release(handle)
        else:
            handle.close()

    def _connection(self) -> Any:
        assert self.handle is not None  # noqa: S101  an invariant of the call order
        return self.handle.connection

    def _run(self, sql: str) -> None:
        self._connection().query(sql, "Null")

    def _query(
        self, handle: Handle, statement: Statement, default_format: str, *, read_only: bool
    ) -> Source:
        try:
            sql = statement.sql.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from error
        connection = handle.connection
        known = connection.classify_query(sql)
        kind = known["query_class"].name
        if known["statement_count"] > 1:
            raise EngineError.named("SYNTAX_ERROR", "Multi-statements are not allowed.")
        self.is_read = kind == "READ_ONLY"
        self._changes_handle |= kind in ("CONTROL", "UNKNOWN")
        self._check_rights(statement, kind, read_only=read_only)
        self.format = statement.format or default_format
        self.has_result = self.is_read
        if statement.verb == "KILL":
            sql = self._with_engine_ids(statement.sql)
        selects = self.is_read and statement.verb in ("SELECT", "WITH", "FROM", "(")
        if not selects:
            result = connection.query(sql, self.format, params=self._parameters)
            self.has_result |= result.size() > 0
            if kind == "UNKNOWN":
                raise EngineError.named("SYNTAX_ERROR", "Syntax error: not a statement.")
            if self._session is not None and statement.verb in ("SET", "USE"):
                handle.remember(statement.sql)
            return _Whole(result, self.progress)
        if self.format in _SEAMLESS and b"json_array_of_rows" not in statement.sql:
            try:
                stream = connection.send_query(sql, self.format, params=self._parameters)
            except RuntimeError as error:
                if "Streaming query is not supported" not in str(error):
                    raise
                result = connection.query(sql, self.format, params=self._parameters)
                return _Whole(result, self.progress)
            return _Blocks(handle, stream, self.progress)
        return _Pipe(
            handle,
            statement,
            self.format,
            self._parameters,
            self.progress,
            self._threads,
            lambda: self._control.kill(handle),
        )

    def _check_rights(self, statement: Statement, kind: str, *, read_only: bool) -> None:
        if read_only and kind not in ("READ_ONLY", "UNKNOWN"):
            raise EngineError.named(
                "READONLY",
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies "
                "readonly. You should use method POST for modifying queries.",
            )
        if not self._user.readonly:
            return
        if statement.verb in ("KILL", "SYSTEM", "BACKUP", "RESTORE"):
            raise EngineError.named("READONLY", "Cannot execute query in readonly mode.")
        denied = _FILE_FUNCTIONS | (
            _UNFILTERED_FUNCTIONS if self._user.row_filters else frozenset()
        )
        previous = None
        for token in tokens(statement.sql):
            if (
                token.text == b"("
                and previous is not None
                and previous.text.strip(b'`"').upper() in denied
            ):
                raise EngineError.named(
                    "READONLY",
                    f"Function {previous.text.decode()} is out of reach in readonly mode.",
                )
            previous = token

    def _with_engine_ids(self, sql: bytes) -> str:
        """Replace the clients' query ids in a KILL by those that the engine runs them under."""
        out, position = [], 0
        for token in tokens(sql):
            if token.kind == "string":
                theirs = self._control.engine_id(token.text[1:-1].decode(errors="replace"))
                if theirs is not None:
                    out += [sql[position : token.start].decode(), quote(theirs)]
                    position = token.end
        return "".join(out) + sql[position:].decode()
