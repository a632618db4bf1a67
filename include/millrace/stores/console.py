"""ClickHouse for people: statements as typed, answers as the server lays them out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from millrace.settings import Settings
from millrace.stores import accounts, clickhouse


class StatementError(ValueError):
    """A statement was refused; the message is the server's, or says that no server answers."""


class Console:
    """A session on ``settings.clickhouse_url``, in which temporary tables and SETs last.

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
                "session_id": str(uuid.uuid4()),
                "wait_end_of_query": "1",  # so that an error comes before any row
                "cancel_http_readonly_queries_on_client_close": "1",
                "s3_validate_etag_on_read": "0",  # as in clickhouse.CLIENT_SETTINGS
                "output_format_pretty_color": str(int(is_terminal)),
                "output_format_pretty_row_numbers": "0",
            },
            timeout=httpx.Timeout(None, connect=10),
            trust_env=False,
        )

    def close(self) -> None:
        """End the session."""
        self._client.close()

    @contextmanager
    def ask(self, statement: str) -> Iterator[Iterator[bytes]]:
        """Run a statement; yield its answer in pieces. Raises ``StatementError``."""
        try:
            with self._client.stream("POST", "/", content=statement.encode()) as answer:
                if answer.is_error:
                    raise StatementError(answer.read().decode(errors="replace").strip())
                yield answer.iter_bytes()
        except httpx.TransportError as error:
            raise StatementError(
                f"ClickHouse at {self._client.base_url} does not answer: {error}\n"
                "  See whether it runs: ./millrace status"
            ) from error
