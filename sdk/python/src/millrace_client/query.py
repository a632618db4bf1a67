"""Asks Millrace for numbers, which come with what each of them is worth.

from millrace_client import QueryClient

with QueryClient("http://127.0.0.1:18091", token) as client:
answer = client.metrics("page_views", range="7d", interval="1d", group_by=["country"])
print(answer.to_pandas())
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlencode, urlsplit

from .transport import read_document, read_retry_after

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

AGAIN = (408, 429, 502, 503, 504)
"""What a repetition may heal; a question changes nothing, so it may always be repeated."""
FIRST_PAUSE = 0.5
"""Seconds before the second try, where the answer does not say how many; then twice as long."""


class QueryError(Exception):
    """The API refused a question.

    ``status`` is HTTP's, and 0 where there was no answer; ``code`` is one of docs/query-api.md.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Row:
    """A number: of a metric, a group and a bucket of time.

    ``start`` and ``end`` are in UTC; ``value`` is ``None`` where ``status`` says why. ``compared``
    is the earlier period's value.
    """

    metric: str
    start: datetime
    end: datetime
    group: Mapping[str, str]
    value: float | None
    status: str
    reason: str | None = None
    compared: float | None = None


@dataclass(frozen=True)
class Answer:
    """An answer; ``document`` is the whole of it, as the API has it."""

    document: Mapping[str, Any]

    @property
    def complete_until(self) -> datetime:
        """Up to when everything that was received is in the numbers."""
        return _moment(self.document["statistics"]["complete_until"])

    @property
    def next(self) -> str:
        """The cursor of the groups that follow; empty where there are none."""
        return str(self.document.get("next") or "")

    @property
    def rows(self) -> list[Row]:
        """The numbers, one after another: by metric, group and time."""
        return list(self._rows())

    def _rows(self) -> Iterator[Row]:
        for metric in self.document["metrics"]:
            for series in metric["series"]:
                for point in series["points"]:
                    yield Row(
                        metric["name"],
                        _moment(point["start"]),
                        _moment(point["end"]),
                        series["group"],
                        point["value"],
                        point["status"],
                        point.get("reason"),
                        point.get("compared"),
                    )

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The numbers by column: metric, start, end, a column a group, value, status, …."""
        rows = self.rows
        groups = list(dict.fromkeys(name for row in rows for name in row.group))
        return {
            "metric": [row.metric for row in rows],
            "start": [row.start for row in rows],
            "end": [row.end for row in rows],
            **{name: [row.group.get(name) for row in rows] for name in groups},
            "value": [None if row.value is None else float(row.value) for row in rows],
            "status": [row.status for row in rows],
            "reason": [row.reason for row in rows],
            "compared": [None if row.compared is None else float(row.compared) for row in rows],
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame with a row a number (``pip install millrace-client[pandas]``)."""
        import pandas as pd

        frame = pd.DataFrame(self.columns)
        kinds = {"value": "float64", "compared": "float64"}
        times = dict.fromkeys(("start", "end"), "datetime64[us, UTC]")
        return frame.astype({**kinds, **times})

    def to_polars(self) -> pl.DataFrame:
        """Return a polars frame with a row a number (``pip install millrace-client[polars]``)."""
        import polars as pl

        moment, number, text = pl.Datetime("us", "UTC"), pl.Float64(), pl.String()
        known = {"start": moment, "end": moment, "value": number, "compared": number}
        columns = self.columns
        return pl.DataFrame(columns, schema={name: known.get(name, text) for name in columns})


class QueryClient:
    """Asks the query API; what it can't answer now (503, 429, no answer) is asked again.

    One thread may use it at a time.

    Args:
        url: The query API, such as ``https://numbers.example.com``.
        token: An API token: ``./millrace tokens add NAME --role viewer`` prints one.
        timeout: Seconds until a request counts as unanswered.
        retry_seconds: How long a question is repeated before ``QueryError`` is raised.
        sleep: What waits between tries.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address such as https://numbers.example.com")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self._prefix = parts.path.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": "millrace-client-python",
        }
        self._retry_seconds = retry_seconds
        self._sleep = sleep

    def metrics(  # noqa: PLR0913  named options
        self,
        name: str | Sequence[str],
        *,
        range: str = "7d",
        interval: str = "",
        tz: str = "UTC",
        group_by: Sequence[str] = (),
        filter: Mapping[str, str] | None = None,
        compare: str = "",
        limit: int | None = None,
        complete_only: bool = False,
        cursor: str = "",
    ) -> Answer:
        """Ask metrics by dimensions over a range of time; see docs/query-api.md.

        ``filter`` is what dimensions must be; ``cursor`` the ``next`` of the page before. Raises
        ``QueryError``.
        """
        asked = {
            "name": name if isinstance(name, str) else ",".join(name),
            "range": range,
            "interval": interval,
            "tz": tz,
            "group_by": ",".join(group_by),
            "filter": ",".join(f"{key}:{value}" for key, value in (filter or {}).items()),
            "compare": compare,
            "limit": "" if limit is None else str(limit),
            "complete_only": "true" if complete_only else "",
            "cursor": cursor,
        }
        query = urlencode({key: value for key, value in asked.items() if value})
        return Answer(self._ask("GET", f"/v1/metrics?{query}"))

    def query(self, document: Mapping[str, Any]) -> Answer:
        """Ask what ``POST /v1/query`` takes: with and, or, not. Raises ``QueryError``."""
        return Answer(self._ask("POST", "/v1/query", json.dumps(document).encode()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> QueryClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Return the answer's document, asking again for as long as it may help."""
        until = time.monotonic() + self._retry_seconds
        pause = FIRST_PAUSE
        while True:
            status, document, retry_after, detail = self._once(method, path, body)
            if status == 200 and document is not None:
                return document
            wait = pause if retry_after is None else retry_after
            is_final = status not in (0, 200, *AGAIN)
            if is_final or time.monotonic() + wait > until:
                problem = document if isinstance(document, dict) else {}
                code = str(problem.get("code") or ("unanswered" if not status else "unexpected"))
                raise QueryError(status, code, str(problem.get("detail") or detail))
            self._sleep(wait)
            pause *= 2

    def _once(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[int, Any, float | None, str]:
        """Return status, document, seconds to wait, and what was wrong; 0 is no answer."""
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            self._connection.request(method, self._prefix + path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, None, None, f"{type(error).__name__}: {error}"
        retry_after = read_retry_after(response.getheader("Retry-After"))
        return response.status, read_document(content), retry_after, response.reason


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
