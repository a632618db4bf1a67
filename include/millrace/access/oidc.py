"""Signing in at an OpenID provider: discovery, the code flow with PKCE, and what it vouches for."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from millrace.access.keys import AccessError
from millrace.access.roles import ROLES, Role
from millrace.settings import Settings

SECONDS = 10.0
"""How long the provider may take to answer."""
KEEP_SECONDS = 3600.0
"""How long what it says of itself is believed."""
LEEWAY_SECONDS = 60
ALGORITHMS = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
]  # fmt: skip
"""Signatures that are believed: none whose key a client would share."""

NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
"""What the code flow asks a provider's configuration for."""

T = TypeVar("T")


class ProviderError(Exception):
    """The provider does not answer, or not as one; the message says what to look at."""


@dataclass(frozen=True)
class Pending:
    """A sign-in that was begun: what must come back with it."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Vouched:
    """Whom the provider vouches for."""

    name: str
    issuer: str
    subject: str
    role: Role


class Provider:
    """The provider that ``MILLRACE_OIDC_ISSUER`` names; its methods wait for its answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._redirect_uri = f"{settings.query_url.rstrip('/')}/v1/oidc/callback"
        self._metadata: dict[str, Any] = {}
        self._keys = KeySet([])
        self._read_at = -KEEP_SECONDS

    def begin(self) -> tuple[str, Pending]:
        """Return where to send the browser, and what must come back. Raises ``ProviderError``."""
        pending = Pending(*(secrets.token_urlsafe(32) for _ in range(3)))
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._said()["authorization_endpoint"],
                state=pending.state,
                nonce=pending.nonce,
                code_verifier=pending.verifier,
            )
        return str(url), pending

    def finish(self, pending: Pending, answer: Mapping[str, str]) -> Vouched:
        """Return whom the provider vouches for, by what the browser brought back from it.

        Raises ``AccessError`` where that is nobody, and ``ProviderError``.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), pending.state.encode()):
            raise AccessError("this is not the sign-in that this browser began")
        if "error" in answer:
            said = answer.get("error_description") or answer["error"]
            raise AccessError(f"the provider refused: {said[:200]}")
        if answer.get("iss", self._settings.oidc_issuer).rstrip("/") != self._issuer:
            raise AccessError("another provider answered than was asked")
        with self._client() as client:
            token = _asked(
                lambda: client.fetch_token(
                    self._said()["token_endpoint"],
                    grant_type="authorization_code",
                    code=answer.get("code", ""),
                    code_verifier=pending.verifier,
                )
            )
            claims = self._verified(str(token.get("id_token", "")), pending.nonce)
            return self._vouched(claims, client)

    def _client(self) -> Any:
        secret = self._settings.oidc_client_secret.get_secret_value()
        return OAuth2Client(
            self._settings.oidc_client_id,
            secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=self._settings.oidc_scopes,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            leeway=0,  # its access token is used at once, however short it lives
            timeout=SECONDS,
        )

    def _said(self) -> Mapping[str, Any]:
        """Return what the provider says of itself."""
        if time.monotonic() - self._read_at > KEEP_SECONDS:
            metadata = self._fetched(f"{self._issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != self._issuer:
                raise ProviderError(
                    f"MILLRACE_OIDC_ISSUER is {self._issuer}, and the provider there says that it "
                    f"is {metadata.get('issuer')}"
                )
            for name in NEEDED:
                if not isinstance(metadata.get(name), str):
                    raise ProviderError(f"the provider's configuration names no {name}")
            self._metadata = metadata
            self._read_keys()
            self._read_at = time.monotonic()
        return self._metadata

    def _read_keys(self) -> None:
        found = self._fetched(self._metadata["jwks_uri"])
        try:
            self._keys = KeySet.import_key_set(found)  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError) as error:
            raise ProviderError(f"the provider's keys can't be read: {error}") from error

    def _fetched(self, url: str) -> dict[str, Any]:
        return _object(url, _asked(lambda: httpx2.get(url, timeout=SECONDS).raise_for_status()))

    def _verified(self, text: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token of this sign-in. Raises ``AccessError``."""
        client_id = self._settings.oidc_client_id
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._metadata["issuer"]},
            aud={"essential": True, "value": client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            claims = self._decoded(text)
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            raise AccessError(f"the provider's ID token is not good: {error}") from None
        if claims.get("azp", client_id) != client_id:
            raise AccessError("the provider's ID token is for another client")
        return claims

    def _decoded(self, text: str) -> dict[str, Any]:
        try:
            return jwt.decode(text, self._keys, algorithms=ALGORITHMS).claims
        except InvalidKeyIdError:  # signed with a key that is newer than what we know
            self._read_keys()
            return jwt.decode(text, self._keys, algorithms=ALGORITHMS).claims

    def _vouched(self, claims: dict[str, Any], client: Any) -> Vouched:
        settings = self._settings
        wanted = (settings.oidc_name_claim, settings.oidc_role_claim)
        if any(_nested(claims, name) is None for name in wanted):
            claims = self._more(client, claims) | claims
        name = _nested(claims, settings.oidc_name_claim)
        if not isinstance(name, str) or not name:
            raise AccessError(
                f"the provider says no {settings.oidc_name_claim} (MILLRACE_OIDC_NAME_CLAIM)"
            )
        if settings.oidc_name_claim == "email" and claims.get("email_verified") is not True:
            raise AccessError(f"the provider has not verified that {name} is theirs")
        role = self._role(_nested(claims, settings.oidc_role_claim))
        if role is None:
            raise AccessError(
                f"{name} has no role here: MILLRACE_OIDC_ROLES gives roles by "
                f"{settings.oidc_role_claim}"
            )
        return Vouched(name.lower(), self._metadata["issuer"], str(claims["sub"]), role)

    def _more(self, client: Any, claims: dict[str, Any]) -> dict[str, Any]:
        """Return what the provider says of the user beside the ID token."""
        url = self._metadata.get("userinfo_endpoint")
        if not url:
            return {}
        said = _object(url, _asked(lambda: client.get(url).raise_for_status()))
        return said if said.get("sub") == claims["sub"] else {}

    def _role(self, said: Any) -> Role | None:
        """Return the highest role that a claim's values give."""
        values = said if isinstance(said, list) else [said]
        given = {self._settings.oidc_roles.get(str(value)) for value in values}
        given.add(self._settings.oidc_default_role)
        return next((role for role in reversed(ROLES) if role in given), None)


def _asked(ask: Callable[[], T]) -> T:
    """Return the provider's answer. Raises ``AccessError`` for a refusal, and ``ProviderError``."""
    try:
        return ask()
    except OAuthError as error:
        raise AccessError(f"the provider refused: {error.description or error.error}") from None
    except (httpx2.HTTPError, ValueError) as error:
        raise ProviderError(f"the OpenID provider does not answer: {error}") from error


def _object(url: str, answer: Any) -> dict[str, Any]:
    """Return the JSON object of an answer; one that is signed (a JWT), say, is none."""
    try:
        return dict(answer.json())
    except (ValueError, TypeError) as error:
        raise ProviderError(f"{url} answers with no JSON object") from error


def _nested(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, whose name may lead into others: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    at: Any = claims
    for part in name.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    return at
