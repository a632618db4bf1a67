"""One POST, and what came back."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

PATH = "/v1/events"
SMALLEST_COMPRESSED = 512
"""Bytes below which gzip saves no packet."""


@dataclass(frozen=True)
class Answer:
    """An answer; ``status`` is 0 where there was none, and ``detail`` says why.

    ``retry_after`` is in seconds.
    """

    status: int
    document: Any = None
    detail: str = ""
    retry_after: float | None = None


class Transport:
    """A connection to the ingestion API that is kept between requests and opened when needed.

    Raises ``ValueError`` where ``url`` is no address of HTTP.
    """

    def __init__(self, url: str, key: str, *, compress: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address such as https://events.example.com")
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + PATH
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/x-ndjson",
            "User-Agent": "millrace-client-python",
        }
        self._compress = compress
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, timeout: float) -> Answer:
        """Send a body; wait ``timeout`` seconds at most for each step of the exchange."""
        headers = dict(self._headers)
        if self._compress and len(body) >= SMALLEST_COMPRESSED:
            body = gzip.compress(body, 6)
            headers["Content-Encoding"] = "gzip"
        try:
            connection = self._open(timeout)
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(0, detail=f"{type(error).__name__}: {error}")
        if response.will_close:
            self.close()
        document = read_document(content)
        return Answer(
            response.status,
            document,
            _detail(document) or response.reason,
            read_retry_after(response.getheader("Retry-After")),
        )

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._connection = None

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=timeout)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        return self._connection


def read_document(content: bytes) -> Any:
    """Read JSON; None where it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def _detail(document: Any) -> str:
    return str(document.get("detail") or "") if isinstance(document, dict) else ""


def read_retry_after(retry_after: str | None) -> float | None:
    """Read Retry-After, which is seconds or a date (RFC 9110)."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return None
    return max(0.0, at.timestamp() - time.time())
