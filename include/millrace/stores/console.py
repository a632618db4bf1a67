"""ClickHouse for people: statements as typed, answers as the server lays them out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from millrace.settings import Settings
from millrace.stores import accounts, clickhouse, errors

SESSION_NOT_FOUND = "372"
"""ClickHouse's code, as its header of errors has it."""

ENDED = (
    "The session has ended (it was idle for {minutes} minutes, or the server started again): its "
    "SETs and temporary tables are gone, and nothing was run. The next statement begins another."
)


class StatementError(ValueError):
    """A statement was refused; the message is the server's, or says that no server answers.

    ``name`` is what the server calls it, such as ``UNKNOWN_TABLE``, where it was the server.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class Console:
    """A session on ``settings.clickhouse_url``, in which temporary tables and SETs last.

    One that the server has ended is not replaced in silence: a statement that relied on a SET would
    do something else.

    ``account`` is one of ``accounts.yaml``; the owner is the URL's own user. ``form``, one of
    ClickHouse's formats, lays out the answers of statements that name none. ``is_terminal`` has
    tables coloured.
    """

    def __init__(
        self,
        settings: Settings,
        account: accounts.Account,
        form: str,
        *,
        is_terminal: bool = False,
        session_seconds: int = clickhouse.PATIENT_SESSION_SECONDS,
    ) -> None:
        url = urlsplit(settings.clickhouse_url)
        user, password = clickhouse.credentials(
            settings, None if account.is_owner else account.name
        )
        self._client = httpx.Client(
            base_url=f"{url.scheme}://{url.hostname}:{url.port or 8123}",
            headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
            params={
                "database": account.database or clickhouse.database(settings),
                "default_format": form,
                "session_timeout": str(session_seconds),
                "wait_end_of_query": "1",  # so that an error comes before any row
                "cancel_http_readonly_queries_on_client_close": "1",
                **{name: str(value) for name, value in clickhouse.S3_SETTINGS.items()},
                "output_format_pretty_color": str(int(is_terminal)),
                "output_format_pretty_row_numbers": "0",
            },
            timeout=httpx.Timeout(None, connect=10),
            trust_env=False,
        )
        self._seconds = session_seconds
        self._begin()

    def _begin(self) -> None:
        self._session = {"session_id": str(uuid.uuid4()), "session_check": "0"}

    def close(self) -> None:
        """End the session."""
        self._client.close()

    @contextmanager
    def ask(self, statement: str) -> Iterator[Iterator[bytes]]:
        """Run a statement; yield its answer in pieces. Raises ``StatementError``."""
        try:
            with self._client.stream(
                "POST", "/", params=self._session, content=statement.encode()
            ) as answer:
                if answer.headers.get("X-ClickHouse-Exception-Code") == SESSION_NOT_FOUND:
                    self._begin()
                    raise StatementError(ENDED.format(minutes=self._seconds // 60))
                self._session["session_check"] = "1"
                if answer.is_error:
                    said = errors.plain(answer.read().decode(errors="replace"))
                    raise StatementError(said, errors.name(said))
                yield answer.iter_bytes()
        except httpx.TransportError as error:
            raise StatementError(
                f"ClickHouse at {self._client.base_url} does not answer: {error}\n"
                "  See whether it runs: ./millrace status"
            ) from error
