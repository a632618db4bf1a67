"""Errors as ClickHouse's HTTP interface reports them: a code, a name, a text and a status."""

from __future__ import annotations

import re

VERSION_SUFFIX = "(version 26.9.2.1 (official build))"

CODES: dict[str, int] = {
    "BAD_ARGUMENTS": 36,
    "NOT_IMPLEMENTED": 48,
    "SYNTAX_ERROR": 62,
    "UNKNOWN_EXCEPTION": 1002,
    "TIMEOUT_EXCEEDED": 159,
    "READONLY": 164,
    "UNKNOWN_USER": 192,
    "REQUIRED_PASSWORD": 194,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 202,
    "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING": 216,
    "SESSION_NOT_FOUND": 372,
    "SESSION_IS_LOCKED": 373,
    "INVALID_SESSION_TIMEOUT": 374,
    "CANNOT_DECOMPRESS": 271,
    "QUERY_IS_TOO_LARGE": 441,
    "AUTHENTICATION_FAILED": 516,
    "ABORTED": 236,
}
"""The codes that this server raises itself (``src/Common/ErrorCodes.cpp`` of ClickHouse)."""

_STATUS: dict[int, int] = {
    194: 401,
    **dict.fromkeys((192, 193, 516, 497), 403),
    **dict.fromkeys(
        (6, 26, 27, 38, 41, 62, 69, 70, 72, 36, 43, 53, 117, 130, 195, 271, 457, 131, 374, 372), 400
    ),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 111, 115, 511), 404),
    441: 413,
    48: 501,
    **dict.fromkeys((202, 209, 76), 503),
    159: 408,
}
"""HTTP statuses by code, after ``src/Server/HTTP/exceptionCodeToHTTPStatus.cpp``; else 500."""

_CODE = re.compile(r"Code: (\d{1,5})\.")


class EngineError(Exception):
    """An error for the client.

    ``code`` is ClickHouse's, ``status`` the HTTP status that goes with it, and ``text`` the body.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = _STATUS.get(code, 500)

    @classmethod
    def named(cls, name: str, message: str) -> EngineError:
        """Make an error of this server's own, by its name in ``CODES``."""
        code = CODES[name]
        return cls(code, f"Code: {code}. DB::Exception: {message} ({name}) {VERSION_SUFFIX}")

    @classmethod
    def of_engine(cls, exception: BaseException) -> EngineError:
        """Translate what chDB raised; its texts begin with ``Code: N.`` as the server's do."""
        text = str(exception).strip()
        match = _CODE.search(text[:200])
        if match is None:
            return cls.named("UNKNOWN_EXCEPTION", text or type(exception).__name__)
        return cls(int(match.group(1)), text)
