"""chDB handles: opened, prepared with a user's settings, pooled, and pinned to sessions.

A handle is what a TCP session is to a ClickHouse server: it has a current database, settings and
temporary tables, and runs one query at a time. Opening one costs 0.2 ms, so a handle that a
statement may have changed is closed, not cleaned.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.stack.engine.config import DEFAULT_SETTINGS, User
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.statement import tokens

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
IDLE_HANDLES = 64
SESSION_SECONDS = 60
SESSION_SECONDS_LIMIT = 3600

Settings = tuple[tuple[str, str], ...]


def quote(value: str) -> str:
    """Return ``value`` as a string literal of ClickHouse."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier of ClickHouse."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Handle:
    """One chDB connection, prepared for one user.

    ``tag`` names the handle in ``system.processes`` (as ``log_comment``), which is how its query
    is found and killed.
    """

    _numbers = itertools.count(1)

    def __init__(self, connection: Any, user: User) -> None:
        self.connection = connection
        self.user = user
        self.tag = f"handle-{next(self._numbers)}"
        self.database = user.database
        self.settings: dict[str, str] = {}
        self._session_settings: dict[str, str] = {}
        base = {**DEFAULT_SETTINGS, **user.settings, "log_comment": self.tag}
        if user.row_filters:
            pairs = (f"{quote(t)}: {quote(c)}" for t, c in user.row_filters.items())
            base["additional_table_filters"] = "{" + ", ".join(pairs) + "}"
        if user.readonly:
            base["readonly"] = str(user.readonly)
        self._base = base
        self._run(f"USE {identifier(user.database)}")
        self._set(base)

    def prepare(self, database: str | None, settings: Mapping[str, str]) -> None:
        """Make the handle's database and settings those of a request.

        Settings of an earlier request of the session that this one does not name go back to what
        the session itself has set, else to the server's default.
        """
        wanted = database or self.database
        if wanted != self.database:
            self._run(f"USE {identifier(wanted)}")
            self.database = wanted
        gone = [name for name in self.settings if name not in settings]
        if gone:
            resets = []
            for name in gone:
                value = self._session_settings.get(name)
                if value is None and name in self._base:
                    value = quote(self._base[name])
                resets.append(f"{name} = {'DEFAULT' if value is None else value}")
            self._run("SET " + ", ".join(resets))
        changed = {n: v for n, v in settings.items() if self.settings.get(n) != v}
        self._set(changed)
        self.settings = dict(settings)

    def remember(self, sql: bytes) -> None:
        """Note what a ``SET`` or ``USE`` statement of a session changed for good."""
        found = list(tokens(sql))
        if found[0].is_word(b"USE"):
            self.database = found[-1].text.strip(b'`"').decode()
            return
        equals = [i for i, t in enumerate(found) if t.text == b"=" and t.depth == 0]
        for position, at in enumerate(equals):
            name = found[at - 1].text.decode()
            last = equals[position + 1] - 3 if position + 1 < len(equals) else len(found) - 1
            if last > at:
                value = sql[found[at + 1].start : found[last].end].decode()
                self._session_settings[name] = value
                self.settings.pop(name, None)

    def bind(self, parameters: Mapping[str, str]) -> None:
        """Set query parameters on the handle, for statements that take none beside them."""
        self._set({f"param_{name}": value for name, value in parameters.items()})

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _set(self, settings: Mapping[str, str]) -> None:
        for name in settings:
            if _NAME.fullmatch(name) is None:
                raise EngineError.named("BAD_ARGUMENTS", f"{name!r} is not the name of a setting.")
        if settings:
            self._run("SET " + ", ".join(f"{n} = {quote(v)}" for n, v in settings.items()))

    def _run(self, sql: str) -> None:
        try:
            self.connection.query(sql, "Null")
        except RuntimeError as error:
            raise EngineError.of_engine(error) from error


class HandlePool:
    """Idle handles of stateless requests, kept by what they are prepared for.

    Clients repeat their settings with every request, so a handle with the same ones is usually at
    hand and used as it is.
    """

    def __init__(self, path: str) -> None:
        # The module is the engine itself, a library of 600 MB: only the server process loads it.
        from chdb import _chdb

        self._connect: Any = vars(_chdb)["connect"]
        self._path = path
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, tuple[tuple[str, str, Settings], Handle]] = OrderedDict()
        self._count = itertools.count()

    def open(self, user: User) -> Handle:
        """Open a new handle for a user."""
        connection = self._connect(self._path)
        try:
            return Handle(connection, user)
        except BaseException:
            connection.close()
            raise

    def acquire(self, user: User, database: str | None, settings: Settings) -> Handle:
        """Return a handle that is prepared as asked, idle or new."""
        key = (user.name, database or user.database, settings)
        with self._lock:
            for number, (known, handle) in reversed(self._idle.items()):
                if known == key:
                    del self._idle[number]
                    return handle
        handle = self.open(user)
        try:
            handle.prepare(database, dict(settings))
        except BaseException:
            handle.close()
            raise
        return handle

    def release(self, handle: Handle) -> None:
        """Keep a handle, still as it was prepared, for the next request like this one."""
        key = (handle.user.name, handle.database, tuple(handle.settings.items()))
        with self._lock:
            self._idle[next(self._count)] = (key, handle)
            evicted = (
                self._idle.popitem(last=False)[1][1] if len(self._idle) > IDLE_HANDLES else None
            )
        if evicted is not None:
            evicted.close()

    def close(self) -> None:
        """Close every idle handle."""
        with self._lock:
            while self._idle:
                self._idle.popitem()[1][1].close()


@dataclass
class Session:
    """A client's session: one handle, used by one request at a time."""

    handle: Handle | None = None
    is_busy: bool = False
    seconds: float = SESSION_SECONDS
    expires_at: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions of all users. Used from the event loop only."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, str], Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def enter(self, user: str, name: str, *, must_exist: bool, seconds: str | None) -> Session:
        """Take a session for one request.

        Raises ``EngineError`` when it is in use (SESSION_IS_LOCKED), was asked for by
        ``session_check`` and is not there, or ``session_timeout`` does not fit.
        """
        session = self._sessions.get((user, name))
        if session is None:
            if must_exist:
                raise EngineError.named("SESSION_NOT_FOUND", f"Session {name} not found.")
            session = Session()
        if session.is_busy:
            raise EngineError.named("SESSION_IS_LOCKED", f"Session {name} is locked by a query.")
        if seconds is not None:
            if not seconds.isdigit() or int(seconds) > SESSION_SECONDS_LIMIT:
                raise EngineError.named(
                    "INVALID_SESSION_TIMEOUT",
                    f"session_timeout is {seconds!r}; give whole seconds, "
                    f"at most {SESSION_SECONDS_LIMIT}.",
                )
            session.seconds = int(seconds)
        self._sessions[(user, name)] = session
        session.is_busy = True
        return session

    def leave(self, user: str, name: str, *, close: bool = False) -> Handle | None:
        """Give a session back; with ``close`` end it and return its handle to close."""
        session = self._sessions[(user, name)]
        session.is_busy = False
        session.expires_at = time.monotonic() + session.seconds
        if close:
            del self._sessions[(user, name)]
            return session.handle
        return None

    def expire(self, *, everything: bool = False) -> list[Handle]:
        """Drop the sessions whose time is up and return their handles to close."""
        now = time.monotonic()
        over = [
            key
            for key, session in self._sessions.items()
            if not session.is_busy and (everything or session.expires_at <= now)
        ]
        handles = [self._sessions.pop(key).handle for key in over]
        return [handle for handle in handles if handle is not None]
