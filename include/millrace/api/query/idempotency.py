"""A POST that may be sent again: done once, and answered as often as it comes.

The sender gives it an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header). The answer is
kept for a day in the transaction that did the work, so that neither is there without the other,
whatever dies. A request that was refused has done nothing and may come again with the same key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Depends, Header, Request, Response

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.service import Connection, Service, ServiceOf
from millrace.contract import locks
from millrace.stores import sql

_KEY = re.compile(r"[\x21-\x7e]{16,255}")
_NONCE = 12


class Once:
    """One request, and what it is known by if it comes again."""

    def __init__(self, service: Service, key: str | None, request_digest: bytes) -> None:
        self._service = service
        self._key = key
        self._request = request_digest

    def run(self, who: Principal, work: Callable[[Connection], Response]) -> Response:
        """Return the answer of the work, which is done within one audited transaction.

        Where the request was answered before, that answer is given and nothing is done. Raises
        ``ProblemError``: 409 while the first is being answered, 422 if it was another request.
        """
        with self._service.change(who) as connection:
            if self._key is None:
                return work(connection)
            digest = _digest("key", f"{who.kind} {who.name}", self._key)
            if not locks.at_once_until_commit(connection, locks.IDEMPOTENCY, digest.hex()):
                raise ProblemError(
                    409,
                    "still_running",
                    "The first request with this Idempotency-Key is being answered; ask again.",
                    retry_after=1,
                )
            secret = AESGCM(_digest("secret", f"{who.kind} {who.name}", self._key))
            row = connection.execute(
                sql.render("postgres/query/kept_answer.sql"), {"key_digest": digest}
            ).fetchone()
            if row is not None:
                return self._again(secret, row["request_digest"], row["answer"])
            made = work(connection)
            values = {
                "key_digest": digest,
                "request_digest": self._request,
                "answer": _sealed(secret, made),
            }
            connection.execute(sql.render("postgres/query/keep_answer.sql"), values)
            return made

    def _again(self, secret: AESGCM, request_digest: bytes, kept: bytes) -> Response:
        if request_digest != self._request:
            raise ProblemError(
                422,
                "key_of_another_request",
                "Another request was sent with this Idempotency-Key; give each its own.",
                extra={
                    "errors": [{"pointer": "/header/idempotency-key", "detail": "was used already"}]
                },
            )
        try:
            plain = secret.decrypt(kept[:_NONCE], kept[_NONCE:], None)
        except InvalidTag as error:
            raise RuntimeError("an answer in idempotent_answers can't be read") from error
        status, headers, body = msgspec.json.decode(plain, type=tuple[int, dict[str, str], bytes])
        return Response(body, status, headers | {"idempotent-replayed": "true"})


def _sealed(secret: AESGCM, made: Response) -> bytes:
    """Return an answer as it is kept: readable only with the key that the sender holds."""
    kept = {
        name: made.headers[name]
        for name in ("content-type", "etag", "location")
        if name in made.headers
    }
    plain = msgspec.json.encode((made.status_code, kept, bytes(made.body)))
    nonce = secrets.token_bytes(_NONCE)
    return nonce + secret.encrypt(nonce, plain, None)


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()


async def _once(
    request: Request,
    service: ServiceOf,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text of 16 to 255 visible characters, such as a UUID: the request is "
            "done once within a day, however often it is sent with it."
        ),
    ] = None,
) -> Once:
    key = None if idempotency_key is None else idempotency_key.strip().strip('"')
    if key is not None and not _KEY.fullmatch(key):
        detail = "it must have 16 to 255 visible characters of ASCII, such as a UUID"
        raise ProblemError(
            422,
            "invalid_request",
            f"Idempotency-Key: {detail}",
            extra={"errors": [{"pointer": "/header/idempotency-key", "detail": detail}]},
        )
    body = hashlib.sha256(await request.body()).hexdigest()
    address = f"{request.url.path}?{request.url.query}"
    return Once(service, key, _digest(request.method, address, body))


DoneOnce = Annotated[Once, Depends(_once)]
"""The request as one that may be sent again, as an argument of a route."""
