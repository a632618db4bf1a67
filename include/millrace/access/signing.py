"""Access tokens: JSON Web Tokens that live minutes, signed with Ed25519 keys that rotate.

The keys are in PostgreSQL, sealed (encrypted) with ``MILLRACE_QUERY_KEY``, so that neither the
database nor a backup of it lets anybody sign; all processes share them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from joserfc import jwe, jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, OctKey, OKPKey
from psycopg.rows import DictRow

from millrace.settings import MissingSettingError, Settings
from millrace.stores import sql

Connection = psycopg.Connection[DictRow]

ACCESS_SECONDS = 600
"""How long an access token is good."""
ROTATE_SECONDS = 30 * 86_400.0
"""How long a key signs."""
KEEP_SECONDS = ROTATE_SECONDS + 86_400
"""How long a key is known."""
SPREAD_SECONDS = 15.0
"""How old a new key is when it begins to sign: by then every process knows it."""
ALGORITHM = "Ed25519"
SEALED_BY = ["dir", "A256GCM"]
ISSUER = "millrace"
MOST_REMEMBERED = 10_000
"""Access tokens whose signatures are remembered as good, so that each is verified once."""


class Seal:
    """Encrypts what only the API itself may read, and what it must recognise as its own.

    Raises ``MissingSettingError`` where there is no ``MILLRACE_QUERY_KEY``.
    """

    def __init__(self, settings: Settings) -> None:
        secret = settings.query_key.get_secret_value()
        if not secret:
            raise MissingSettingError("MILLRACE_QUERY_KEY")
        self._digest = hashlib.sha256(b"millrace seal " + secret.encode()).digest()
        self._key = OctKey.import_key(self._digest)

    def seal(self, content: Any) -> str:
        """Return a value as text that only ``open`` reads."""
        text = json.dumps(content).encode()
        return jwe.encrypt_compact(
            dict(zip(("alg", "enc"), SEALED_BY, strict=True)), text, self._key
        )

    def open(self, text: str) -> Any:
        """Return what was sealed. Raises ``ValueError`` where it was not, or not by this key."""
        try:
            return json.loads(
                jwe.decrypt_compact(text, self._key, algorithms=SEALED_BY).plaintext or b""
            )
        except JoseError as error:
            raise ValueError("it is not sealed by this stack") from error

    def mark(self, of: str) -> str:
        """Return what proves that this API knows ``of``; nobody else can tell it."""
        return hmac.new(self._digest, of.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Claims:
    """What an access token says: who, in which session, and until when (seconds since 1970)."""

    user: str
    session_id: str
    expires_at: float


class Signer:
    """Signs access tokens and verifies them, with the keys that PostgreSQL said last."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._signing: OKPKey | None = None
        self._known = KeySet([])
        self._names: tuple[str, ...] = ()
        self._remembered: dict[str, Claims] = {}

    def refresh(self, connection: Connection) -> None:
        """Read the keys; make one where there is none, or the newest has signed long enough.

        Those that were sealed with another ``MILLRACE_QUERY_KEY`` are as if they were not there.
        """
        found = self._read(connection)
        if not found or found[0][1] > ROTATE_SECONDS:
            self._make(connection)
            found = self._read(connection)
        names = tuple(str(key.kid) for key, _ in found)
        if names != self._names:
            known: list[Key] = [key for key, _ in found]
            self._known, self._names, self._remembered = KeySet(known), names, {}
        ripe = [key for key, age in found if age > SPREAD_SECONDS]
        eldest = [key for key, _ in found[-1:]]
        self._signing = next(iter(ripe + eldest), None)

    def sign(self, user: str, session_id: str) -> str:
        """Return an access token. Raises ``LookupError`` while no key is known."""
        key = self._signing
        if key is None:
            raise LookupError("no signing key is known yet")
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "sid": session_id,
            "iat": now,
            "exp": now + ACCESS_SECONDS,
            "jti": secrets.token_urlsafe(9),
        }
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM])

    def verify(self, text: str) -> Claims | None:
        """Return what an access token says, if it is one of ours and still good."""
        claims = self._remembered.get(text)
        if claims is None:
            claims = self._verify(text)
            if claims is None:
                return None
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered = {}
            self._remembered[text] = claims
        return claims if time.time() < claims.expires_at else None

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the public halves of the keys, as RFC 7517 has them."""
        return [dict(key.as_dict(private=False)) for key in self._known.keys]

    def _verify(self, text: str) -> Claims | None:
        try:
            token = jwt.decode(text, self._known, algorithms=[ALGORITHM])
            said = token.claims
            if token.header.get("typ") != "at+jwt" or said["iss"] != ISSUER:
                return None
            return Claims(str(said["sub"]), str(said["sid"]), float(said["exp"]))
        except (JoseError, ValueError, KeyError, TypeError):
            return None

    def _read(self, connection: Connection) -> list[tuple[OKPKey, float]]:
        """Return the keys, the newest first, and their ages in seconds."""
        found = []
        for row in connection.execute(sql.render("postgres/access/signing_keys.sql")):
            with contextlib.suppress(ValueError):
                found.append((OKPKey.import_key(self._seal.open(row["sealed_key"])), row["age"]))
        return found

    def _make(self, connection: Connection) -> None:
        name = secrets.token_urlsafe(9)
        key = OKPKey.generate_key("Ed25519", {"kid": name, "use": "sig", "alg": ALGORITHM})
        connection.execute(
            sql.render("postgres/access/add_signing_key.sql"),
            {
                "key_id": name,
                "sealed_key": self._seal.seal(key.as_dict(private=True)),
                "keep_seconds": KEEP_SECONDS,
            },
        )
