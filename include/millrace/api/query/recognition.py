"""Who asks, from memory: no request waits for PostgreSQL to be recognised."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow

from millrace.access import keys, sessions, tickets, tokens, users
from millrace.access.roles import Principal
from millrace.access.sessions import Session
from millrace.access.signing import ACCESS_SECONDS, Claims, Seal, Signer
from millrace.access.tokens import Token
from millrace.access.users import User
from millrace.api.http import ProblemError
from millrace.api.query.places import Places
from millrace.api.query.polling import Polled
from millrace.settings import Settings

Connection = psycopg.Connection[DictRow]
WithPostgres = Callable[[Callable[[Connection], Any]], Awaitable[Any]]

REFRESH_SECONDS = 1.0
"""How often tokens and users are read again: well below the 5 s in which a revocation must hold."""
NEW_SECONDS = 2.5
"""How long a token that is not known may take to be read: it may have been made just now."""
MOST_NEW = 200
"""How many wait at once for tokens that are not known; everybody who is known passes them by."""
KEYS_SECONDS = 5.0
"""How often signing keys are read: well below ``signing.SPREAD_SECONDS``."""


@dataclass(frozen=True)
class _Known:
    """What PostgreSQL said last; replaced as a whole."""

    tokens: Mapping[bytes, Token]
    users: Mapping[str, User]
    ended: frozenset[str]


class Recognition:
    """The tokens and users that may ask, read every second.

    Without PostgreSQL it goes on with those it knows. Without ``MILLRACE_QUERY_KEY`` nobody can
    sign in; tokens work all the same.
    """

    def __init__(self, settings: Settings, with_postgres: WithPostgres) -> None:
        self._with_postgres = with_postgres
        self._seal = Seal(settings) if settings.query_key.get_secret_value() else None
        self._signer = Signer(self._seal) if self._seal else None
        self._known: _Known | None = None
        self._used: set[str] = set()
        self._begun = 0
        self._read = 0
        self._was_read = asyncio.Condition()
        self._new = Places(MOST_NEW, "Too many tokens are not known yet; yours may be by then.")
        self._polled = [Polled("users and tokens", self.refresh, REFRESH_SECONDS)]
        if self._signer:
            self._polled.append(Polled("signing keys", self._refresh_keys, KEYS_SECONDS))

    async def start(self) -> None:
        """Read them now and from now on; PostgreSQL need not answer yet."""
        for polled in self._polled:
            await polled.start()

    async def stop(self) -> None:
        """End."""
        for polled in self._polled:
            await polled.stop()

    def principal_of(self, authorization: str) -> Principal | None:
        """Return who asks, by the header Authorization; ``None`` where it is nobody known.

        The token (or access token) is the bearer, or the password of basic authentication, whose
        name is any: some programs know nothing else.

        Raises ``ProblemError`` (503) while nobody can be told to be a stranger.
        """
        text = _token(authorization)
        if not text.startswith(f"{tokens.PREFIX}_"):
            claims = self.claims(text) if text else None
            return None if claims is None else self.of_claims(claims)
        token = self._now().tokens.get(keys.digest(text))
        if token is None or not token.is_usable(datetime.now(UTC)):
            return None
        self._used.add(token.token_id)
        return token.principal

    async def looked_again(self, authorization: str) -> bool:
        """Wait until tokens are read that were made before now; ``False`` where none is shown.

        Who makes a token and uses it at once is not told to be a stranger.

        Raises ``ProblemError`` (503) where ``MOST_NEW`` wait already.
        """
        if not tokens.TEXT.fullmatch(_token(authorization)):
            return False
        wanted = self._begun + 1
        with self._new.one(), suppress(TimeoutError):
            async with asyncio.timeout(NEW_SECONDS), self._was_read:
                await self._was_read.wait_for(lambda: self._read >= wanted)
        return True

    def claims(self, text: str) -> Claims | None:
        """Return what an access token says, if it is good."""
        return self._signer.verify(text) if self._signer else None

    def of_claims(self, claims: Claims) -> Principal | None:
        """Return who asks, with the rights that they have now; ``None`` where they may no more.

        Raises ``ProblemError`` (503) while nobody is known yet.
        """
        known = self._now()
        user = known.users.get(claims.user)
        if user is None or claims.session_id in known.ended:
            return None
        kind: Literal["user", "airflow"] = "airflow" if user.issuer == tickets.ISSUER else "user"
        return user.rights.principal(user.name, kind)

    def access_token(self, session: Session) -> str:
        """Return an access token for a session. Raises ``ProblemError`` (503)."""
        try:
            return self.signer.sign(session.user, session.session_id)
        except LookupError:
            raise _not_yet() from None

    @property
    def signer(self) -> Signer:
        """What signs access tokens. Raises ``ProblemError`` (503) where there is no key."""
        if self._signer is None:
            raise _without_key()
        return self._signer

    @property
    def seal(self) -> Seal:
        """What seals what a browser brings back. Raises ``ProblemError`` (503)."""
        if self._seal is None:
            raise _without_key()
        return self._seal

    async def refresh(self) -> None:
        """Read them now."""
        self._begun = begun = self._begun + 1
        used, self._used = self._used, set()

        def read(connection: Connection) -> _Known:
            if used:
                tokens.note_usage(connection, used)
            return _Known(
                {token.digest: token for token in tokens.usable(connection)},
                {user.name: user for user in users.active(connection)},
                sessions.ended(connection, ACCESS_SECONDS + 60),
            )

        self._known = await self._with_postgres(read)
        async with self._was_read:
            self._read = begun
            self._was_read.notify_all()

    async def _refresh_keys(self) -> None:
        await self._with_postgres(self.signer.refresh)

    def _now(self) -> _Known:
        if self._known is None:
            raise _not_yet()
        return self._known


def _not_yet() -> ProblemError:
    return ProblemError(503, "unavailable", "Users and tokens are not known yet.", retry_after=1)


def _without_key() -> ProblemError:
    return ProblemError(
        503, "unavailable", "Nobody can sign in: MILLRACE_QUERY_KEY is not set. Tokens work."
    )


def _token(authorization: str) -> str:
    """Return the token that a header shows; empty where it shows none."""
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(shown, validate=True).decode()
        except ValueError:
            return ""
        return pair.partition(":")[2]
    return shown.strip() if scheme.lower() == "bearer" else ""
