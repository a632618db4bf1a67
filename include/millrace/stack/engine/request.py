"""What a client asks: the HTTP request's parameters, sorted into query, settings and transport."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from millrace.stack.engine.config import User
from millrace.stack.engine.errors import EngineError
from millrace.stack.engine.statement import tokens

_TRANSPORT = frozenset(
    {
        "query", "database", "user", "password", "quota_key", "role", "session_id",
        "session_timeout", "session_check", "close_session", "default_format", "query_id",
        "wait_end_of_query", "buffer_size", "compress", "decompress", "stacktrace",
        "client_protocol_version", "enable_http_compression", "http_zlib_compression_level",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close", "add_http_cors_header",
    }
)  # fmt: skip
"""Parameters that this server reads or, where it has no use for them, passes over."""

_SYNCHRONOUS = frozenset({"async_insert", "wait_for_async_insert"})
"""Settings passed over because every insert is done before it is acknowledged."""

_TRUE = frozenset({"1", "true"})


@dataclass(slots=True)
class Request:
    """One request, parsed. ``parameters`` are those of ``param_*``, still escaped."""

    method: str
    headers: Mapping[bytes, bytes]
    query: bytes = b""
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    transport: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Request:
        """Read the request line and headers. Raises ``EngineError`` if they can't be read."""
        request = cls(scope["method"], dict(scope["headers"]))
        try:
            pairs = parse_qsl(
                scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                errors="surrogateescape",
            )
        except (UnicodeDecodeError, ValueError) as error:
            raise EngineError.named("BAD_ARGUMENTS", f"The URL can't be read: {error}.") from error
        for name, value in pairs:
            request.add(name, value)
        for name in ("compress", "decompress"):
            if request.flag(name):
                raise EngineError.named(
                    "NOT_IMPLEMENTED",
                    f"{name}=1 (ClickHouse's own block compression) is not offered; "
                    "use Content-Encoding and Accept-Encoding.",
                )
        return request

    def add(self, name: str, value: str) -> None:
        """Sort one parameter of the URL or of a form."""
        if name == "query":
            self.query = value.encode("utf-8", "surrogateescape")
            return
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise EngineError.named("BAD_ARGUMENTS", f"Parameter {name} is not UTF-8.") from error
        if name in _TRANSPORT:
            self.transport[name] = value
        elif name.startswith("param_"):
            self.parameters[name[len("param_") :]] = value
        elif name not in _SYNCHRONOUS:
            self.settings[name] = value

    def flag(self, name: str) -> bool:
        """Tell whether a transport parameter is switched on."""
        return self.transport.get(name, "") in _TRUE

    def header(self, name: bytes) -> str:
        """Return a header's value, or an empty text."""
        return self.headers.get(name, b"").decode("utf-8", "replace")

    def database(self) -> str | None:
        """Return the database asked for, in the URL or the header."""
        return self.transport.get("database") or self.header(b"x-clickhouse-database") or None

    def authenticate(self, users: Mapping[str, User]) -> User:
        """Return the user who asks. Raises ``EngineError`` when the credentials don't fit."""
        name, password = self._credentials()
        user = users.get(name)
        if user is None or not user.accepts(password):
            raise EngineError.named(
                "AUTHENTICATION_FAILED",
                f"{name or 'default'}: Authentication failed: password is incorrect, "
                "or there is no user with such name.",
            )
        return user

    def _credentials(self) -> tuple[str, str]:
        if b"x-clickhouse-user" in self.headers:
            return self.header(b"x-clickhouse-user"), self.header(b"x-clickhouse-key")
        scheme, _, value = self.header(b"authorization").partition(" ")
        if scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise EngineError.named(
                    "AUTHENTICATION_FAILED", f"The Authorization header can't be read: {error}."
                ) from error
            name, _, password = decoded.partition(":")
            # Clients that take credentials from a URL may leave them percent-encoded.
            return name or "default", password
        if scheme:
            raise EngineError.named(
                "AUTHENTICATION_FAILED", f"Authorization scheme {scheme} is not offered; use Basic."
            )
        return self.transport.get("user", "default"), self.transport.get("password", "")


def external_table(fields: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return structure and format of an external table sent as a form's file ``name``."""
    structure = fields.get(f"{name}_structure", "")
    if not structure and (types := fields.get(f"{name}_types", "").encode()):
        commas = [t.start for t in tokens(types) if t.text == b"," and t.depth == 0]
        starts = [0, *(comma + 1 for comma in commas)]
        pieces = [types[a:b] for a, b in zip(starts, [*commas, len(types)], strict=True)]
        structure = ", ".join(f"_{i} {p.decode().strip()}" for i, p in enumerate(pieces, 1))
    if not structure:
        raise EngineError.named(
            "BAD_ARGUMENTS", f"External table {name} needs {name}_structure or {name}_types."
        )
    return structure, fields.get(f"{name}_format", "TabSeparated")
