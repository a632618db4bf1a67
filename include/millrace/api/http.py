"""A request as it came, an answer as it goes, and the problems that stand in for one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec

JSON = "application/json"
PROBLEM = "application/problem+json"
PROBLEM_TYPE = "https://millrace.dev/problems/"
MOST_FIELDS = 1_000
"""Of a form or a query."""

MOST_VALUES = 1_000_000
"""Of a document. Each may take a hundred bytes, where its text has three."""


@dataclass
class Request:
    """A request whose body was read and unpacked.

    ``headers`` have names in lower case; ``body`` is what the sender packed. ``received_at`` is
    in milliseconds since 1970. ``client`` is the address of whoever is at the other end, as the
    first proxy says it: good for telling visitors apart, and no proof of anything.
    """

    method: str
    path: str
    query_string: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_id: str = ""
    received_at: int = 0
    client: str = ""

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; the first of equal names. Raises ``ProblemError`` (400)."""
        return parse_form(self.query_string.decode("utf-8", "replace"))

    @cached_property
    def document(self) -> Any:
        """The body as JSON, whatever its Content-Type says. Raises ``ProblemError`` (400)."""
        return parse(self.body)


def parse_form(text: str) -> dict[str, str]:
    """Return the fields of a form (``application/x-www-form-urlencoded``); the first of a name.

    Raises ``ProblemError`` (400) for more than ``MOST_FIELDS``: who sends it may be anybody yet.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        detail = f"The form or query has more than {MOST_FIELDS} fields: send fewer"
        raise ProblemError(400, "malformed_form", detail) from None
    return dict(reversed(pairs))


def parse(body: bytes | str) -> Any:
    """Read JSON, also what some SDKs write that is none, so that it spoils nothing beside it.

    ``NaN`` and numbers too large to be read become texts, half surrogates and bytes that are no
    UTF-8 become U+FFFD. Raises ``ProblemError``: 400 saying where it ends to be JSON, 413 for so
    many values that they would take far more memory than their text.
    """
    if len(body) > MOST_VALUES and _has_many_values(body):
        raise ProblemError(
            413, "body_too_large", f"The body has more than {MOST_VALUES:,} values: send less"
        )
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        text = body.decode("utf-8-sig", "replace") if isinstance(body, bytes) else body
        try:
            loose = json.loads(
                text, strict=False, parse_constant=str, parse_float=_finite, parse_int=_readable
            )
            halves = json.dumps(loose, ensure_ascii=False).encode("utf-16", "surrogatepass")
            return msgspec.json.decode(halves.decode("utf-16", "replace"))
        except (ValueError, RecursionError):
            raise ProblemError(400, "malformed_json", f"The body is no JSON: {error}") from None


def _has_many_values(body: bytes | str) -> bool:
    marks = (b",", b"{", b"[") if isinstance(body, bytes) else (",", "{", "[")
    return sum(map(body.count, marks)) > MOST_VALUES  # type: ignore[arg-type]


def _finite(number: str) -> float | str:
    """Return a number, or its text if a Float64 can't hold it."""
    value = float(number)
    return value if math.isfinite(value) else number


def _readable(number: str) -> int | str:
    """Return a whole number, or its text if it has more digits than Python reads at once."""
    return int(number) if len(number) < 300 else number


@dataclass
class Response:
    """An answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, content: Any, **headers: str) -> Response:
        """Return an answer of JSON; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, msgspec.json.encode(content), {"content-type": JSON, **named})


class ProblemError(Exception):
    """Why a request as a whole is refused: RFC 9457, with what SDKs look for besides.

    ``code`` is from the closed list of docs/ingestion-api.md; ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.extra = dict(extra or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem as an object of RFC 9457.

        ``code``, ``message``, ``error`` and ``error_description`` are for SDKs that read one of
        them and take an answer without it for none (docs/ingestion-api.md).
        """
        return {
            "type": PROBLEM_TYPE + self.code,
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:millrace:request:{request_id}",
            "code": self.code,
            "message": self.detail,
            "error": self.code,
            "error_description": self.detail,
            **self.extra,
        }

    def response(self, request_id: str, **changes: Any) -> Response:
        """Return the answer; ``changes`` replace members of the object."""
        headers = {"content-type": PROBLEM}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        content = self.document(request_id) | changes
        return Response(self.status, json.dumps(content).encode(), headers)
