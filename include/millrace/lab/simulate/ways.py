"""How a batch gets to the ingestion API: by plain HTTP, or by gRPC."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc

PATH = "/v1/events"
METHOD = "/millrace.ingestion.v1.Ingestion/Send"
ANSWER_SECONDS = 30.0
"""How long an answer may take; then the request is sent again."""

_LATER = frozenset({408, 429})
_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class RefusedError(Exception):
    """The API refuses a request for good: the answer says why."""


class Way(Protocol):
    """A connection to the API."""

    def send(self, batch: Sequence[bytes]) -> bool:
        """Return whether a batch was acknowledged; it may be there although it was not.

        Raises ``RefusedError`` where sending it again changes nothing.
        """

    def close(self) -> None:
        """Disconnect."""


class Http:
    """A connection by HTTP to the API at an address such as ``http://127.0.0.1:18090``."""

    def __init__(self, url: str, key: str) -> None:
        place = urlsplit(url)
        self._http = http.client.HTTPConnection(
            place.hostname or "", place.port or 80, timeout=ANSWER_SECONDS
        )
        self._path = place.path.rstrip("/") + PATH
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def send(self, batch: Sequence[bytes]) -> bool:
        """Send a batch as an array."""
        body = b"[" + b",".join(batch) + b"]"
        try:
            self._http.request("POST", self._path, body, self._headers)
            answer = self._http.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            return False
        if 400 <= answer.status < 500 and answer.status not in _LATER:
            raise RefusedError(f"{answer.status}: {text.decode(errors='replace')[:500]}")
        return answer.status in {200, 202}

    def close(self) -> None:
        """Disconnect."""
        self._http.close()


class Grpc:
    """A connection by gRPC to the API at an address such as ``127.0.0.1:18094``."""

    def __init__(self, address: str, key: str) -> None:
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1_000),
            ],
        )
        self._send = self._channel.unary_unary(METHOD, request_serializer=_request)
        self._metadata = (("authorization", f"Bearer {key}"),)

    def send(self, batch: Sequence[bytes]) -> bool:
        """Send a batch as a call of its own."""
        try:
            self._send(batch, timeout=ANSWER_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            call: Any = error
            if call.code() in _FOR_GOOD:
                raise RefusedError(f"{call.code().name}: {call.details()[:500]}") from None
            return False
        return True

    def close(self) -> None:
        """Disconnect."""
        self._channel.close()


def _request(batch: Sequence[bytes]) -> bytes:
    """Return a ``SendRequest`` of ``json_events``, field 2, with nothing of the API's own code."""
    return b"".join(b"\x12" + _varint(len(event)) + event for event in batch)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
