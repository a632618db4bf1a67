"""An OpenID provider of the tests' own, as a process: `python -m tests.helpers.openid_provider`.

It prints its address and serves until its input ends. It signs in whomever the parameter `person`
of its authorisation endpoint describes (JSON): `claims` of the ID token, `userinfo`, and how to
`spoil` the ID token. Codes work once, for the PKCE verifier that they were asked with.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

CLIENT = ("millrace", "a client's secret / with: signs")


def new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig", "alg": "ES256"})


class Provider(BaseHTTPRequestHandler):
    """Its endpoints; the state is the class's."""

    key = new_key()
    codes: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    people: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    issuer = ""

    def do_GET(self) -> None:
        """Answer what is only read, and the browser that comes to sign in."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/.well-known/openid-configuration":
                ends = {
                    "authorization_endpoint": "/authorize",
                    "token_endpoint": "/token",
                    "userinfo_endpoint": "/userinfo",
                    "jwks_uri": "/keys",
                }
                self.answer({"issuer": self.issuer} | {k: self.issuer + v for k, v in ends.items()})
            case "/keys":
                self.answer({"keys": [type(self).key.as_dict(private=False)]})
            case "/rotate":
                type(self).key = new_key()
                self.answer({})
            case "/authorize":
                self.authorize(query)
            case "/userinfo":
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                self.answer(self.people[token])
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        """Give an ID token for a code."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        shown = self.headers.get("Authorization", "").removeprefix("Basic ")
        asked = self.codes.pop(form.get("code", ""), None)
        if base64.b64decode(shown).decode() != ":".join(CLIENT):
            self.answer({"error": "invalid_client"}, 401)
        elif (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or create_s256_code_challenge(form.get("code_verifier", "")) != asked["code_challenge"]
        ):
            self.answer({"error": "invalid_grant"}, 400)
        else:
            person = json.loads(asked["person"])
            token = secrets.token_urlsafe()
            self.people[token] = {"sub": person["claims"]["sub"]} | person.get("userinfo", {})
            self.answer(
                {
                    "access_token": token,
                    "token_type": "Bearer",
                    "expires_in": 60,
                    "id_token": self.id_token(person, asked["nonce"]),
                }
            )

    def authorize(self, query: dict[str, str]) -> None:
        """Send the browser back with a code."""
        wanted = ("redirect_uri", "state", "nonce", "code_challenge", "person")
        right = {
            "client_id": CLIENT[0],
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        if any(not query.get(name) for name in wanted) or right.items() - query.items():
            self.answer({"error": "invalid_request"}, 400)
            return
        code = secrets.token_urlsafe()
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{back}")
        self.end_headers()

    def id_token(self, person: dict[str, Any], nonce: str) -> str:
        """Return an ID token, good or spoilt."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT[0],
            "exp": now + 60,
            "iat": now,
            "nonce": nonce,
        } | person["claims"]
        key = type(self).key
        header = {"alg": "ES256", "kid": key.kid}
        spoil = person.get("spoil")
        changes = {
            "nonce": {"nonce": "another"},
            "audience": {"aud": "another"},
            "issuer": {"iss": "https://another.example"},
            "expired": {"exp": now - 3600, "iat": now - 7200},
            "party": {"aud": [CLIENT[0], "another"], "azp": "another"},
        }
        claims |= changes.get(spoil, {})
        if spoil == "unsigned":
            return jwt.encode({"alg": "none"}, claims, OctKey.generate_key(), algorithms=["none"])
        if spoil == "shared":
            public = OctKey.import_key(json.dumps(key.as_dict(private=False)).encode())
            return jwt.encode(header | {"alg": "HS256"}, claims, public)
        if spoil == "forged":
            key = new_key()
        return jwt.encode(header, claims, key)

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    Provider.issuer = f"http://127.0.0.1:{server.server_port}"
    sys.stdout.write(f"{Provider.issuer}\n")
    sys.stdout.flush()
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
