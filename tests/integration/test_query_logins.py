"""Signing in at the query API: short access tokens, refresh tokens that work once, cookies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey
from limits.storage import RedisStorage
from tests.helpers.wait import until
from typer.testing import CliRunner, Result

from millrace.access import tickets, users
from millrace.access.rights import Rights
from millrace.access.signing import Seal
from millrace.cli.main import app
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import cache, postgres

PASSWORD = "correct horse battery staple"
Clients = Mapping[str, httpx.Client]


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["users", *arguments])


@pytest.fixture
def client(query_clients: Clients, query_api: str, settings: Settings) -> Iterator[httpx.Client]:
    """A client that nobody knows, and no login counted yet."""
    RedisStorage(settings.redis_url, key_prefix="millrace:logins").reset()
    with httpx.Client(base_url=query_api, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def ada(settings: Settings) -> str:
    with postgres.connect(settings) as connection:
        users.add(connection, "ada", Rights("analyst", ["web"]), PASSWORD)
    return "ada"


def signed_in(client: httpx.Client, name: str, password: str = PASSWORD) -> dict[str, str]:
    answer = client.post("/v1/login", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    content: dict[str, str] = answer.json()
    return content


def me(client: httpx.Client, access_token: str) -> httpx.Response:
    return client.get("/v1/me", headers={"Authorization": f"Bearer {access_token}"})


def test_a_login_gives_a_token_that_anybody_can_verify(client: httpx.Client, ada: str) -> None:
    session = signed_in(client, "  Ada ")
    until(lambda: me(client, session["access_token"]).is_success, 5)
    said = me(client, session["access_token"]).json()
    assert (said["name"], said["role"], said["sources"], said["kind"]) == (
        ada, "analyst", ["web"], "user",
    )  # fmt: skip
    keys = client.get("/.well-known/jwks.json").json()
    assert all("d" not in key for key in keys["keys"])
    token = jwt.decode(session["access_token"], KeySet.import_key_set(keys), algorithms=["Ed25519"])
    assert token.claims["sub"] == ada
    assert token.claims["exp"] - token.claims["iat"] == 600


def test_forged_tokens_open_nothing(client: httpx.Client, ada: str) -> None:
    genuine = signed_in(client, ada)["access_token"]
    claims = jwt.decode(
        genuine, KeySet.import_key_set(client.get("/.well-known/jwks.json").json()), ["Ed25519"]
    ).claims
    head, body, signature = genuine.split(".")
    public = json.dumps(client.get("/.well-known/jwks.json").json()["keys"][0]).encode()
    forged = jwt.encode({"alg": "HS256", "typ": "at+jwt"}, claims, OctKey.import_key(public))
    none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0"  # {"alg":"none","typ":"at+jwt"}
    for text in (forged, f"{none}.{body}.", f"{none}.{body}.{signature}", f"{head}.{body}.", "a.b"):
        assert me(client, text).status_code == 401


def test_a_refresh_token_works_once_and_a_copy_ends_the_session(
    client: httpx.Client, ada: str
) -> None:
    def refreshed(text: str) -> httpx.Response:
        return client.post("/v1/refresh", json={"refresh_token": text})

    first = signed_in(client, ada)
    second = refreshed(first["refresh_token"]).json()
    third = refreshed(second["refresh_token"]).json()
    assert me(client, third["access_token"]).is_success
    copied = refreshed(first["refresh_token"])
    assert (copied.status_code, copied.json()["code"]) == (401, "session_over")
    assert refreshed(third["refresh_token"]).status_code == 401
    until(lambda: me(client, third["access_token"]).status_code == 401, 5)
    other = signed_in(client, ada)
    assert me(client, other["access_token"]).is_success
    assert refreshed("mrr_nobody").status_code == 401


def test_after_a_logout_nothing_of_the_session_works(client: httpx.Client, ada: str) -> None:
    session = signed_in(client, ada)
    body = {"refresh_token": session["refresh_token"]}
    assert client.post("/v1/logout", json=body).status_code == 204
    assert client.post("/v1/refresh", json=body).status_code == 401
    until(lambda: me(client, session["access_token"]).status_code == 401, 5)


def test_browsers_get_cookies_that_only_our_pages_use(client: httpx.Client, ada: str) -> None:
    answer = client.post("/v1/login", json={"name": ada, "password": PASSWORD, "cookies": True})
    content = answer.json()
    assert content["access_token"] is None
    assert content["refresh_token"] is None
    given = {one.split("=")[0]: one for one in answer.headers.get_list("set-cookie")}
    assert all("SameSite=strict" in one for one in given.values())
    assert "HttpOnly" in given["millrace_access"]
    assert "HttpOnly" in given["millrace_refresh"]
    assert client.get("/v1/me").json()["name"] == ada
    change = {"current": PASSWORD, "password": PASSWORD}
    for headers in ({}, {"X-CSRF-Token": "0" * 64}):
        forbidden = client.put("/v1/me/password", json=change, headers=headers)
        assert (forbidden.status_code, forbidden.json()["code"]) == (403, "csrf")
        assert client.post("/v1/refresh", headers=headers).json()["code"] == "csrf"
        assert client.post("/v1/logout", headers=headers).json()["code"] == "csrf"
    ours = {"X-CSRF-Token": client.cookies["millrace_csrf"]}
    assert client.post("/v1/refresh", headers=ours).status_code == 200
    assert client.get("/v1/me").is_success
    assert client.post("/v1/logout", headers=ours).status_code == 204
    assert client.get("/v1/me").status_code == 401


def test_who_guesses_has_to_wait_and_learns_nothing(client: httpx.Client, ada: str) -> None:
    def tried(name: str) -> httpx.Response:
        return client.post("/v1/login", json={"name": name, "password": "not the password"})

    strangers, owners = tried("nobody-of-that-name"), tried(ada)
    assert strangers.status_code == owners.status_code == 401
    left = {"instance"}
    assert {k: v for k, v in strangers.json().items() if k not in left} == {
        k: v for k, v in owners.json().items() if k not in left
    }
    statuses = [tried("guessed").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert int(tried("guessed").headers["retry-after"]) > 0
    assert signed_in(client, ada)


def test_a_user_is_added_changed_and_disabled_at_the_shell(client: httpx.Client) -> None:
    made = typed("add", "grace@example.org", "--role", "viewer")
    assert made.exit_code == 0, made.output
    session = signed_in(client, "grace@example.org", made.stdout.strip())

    def role() -> str:
        answer = me(client, session["access_token"])
        return str(answer.json()["role"]) if answer.is_success else str(answer.status_code)

    until(lambda: role() == "viewer", 5)
    assert typed("change", "grace@example.org", "--role", "operator").exit_code == 0
    until(lambda: role() == "operator", 5)
    other = typed("password", "grace@example.org").stdout.strip()
    until(lambda: role() == "401", 5)
    session = signed_in(client, "grace@example.org", other)
    assert role() == "operator"
    assert typed("disable", "grace@example.org").exit_code == 0
    until(lambda: role() == "401", 5)
    refused = client.post("/v1/login", json={"name": "grace@example.org", "password": other})
    assert refused.status_code == 401
    assert typed("add", "grace@example.org", "--role", "viewer").exit_code == 2


def test_admins_administer_people_and_it_is_on_record(
    client: httpx.Client, query_clients: Clients, settings: Settings
) -> None:
    admin = query_clients["admin"]
    made = admin.post("/v1/users", json={"name": "linus", "role": "viewer"})
    assert made.status_code == 201
    password = made.json()["password"]
    session = signed_in(client, "linus", password)
    until(lambda: me(client, session["access_token"]).is_success, 5)
    own = {"Authorization": f"Bearer {session['access_token']}"}
    body = {"current": password, "password": PASSWORD}
    assert client.put("/v1/me/password", json=body, headers=own).status_code == 204
    assert signed_in(client, "linus")
    shown = admin.get("/v1/users/linus")
    state = {"If-Match": shown.headers["etag"]}
    wanted = {"role": "analyst", "sources": ["web"]}
    assert admin.patch("/v1/users/linus", json=wanted).status_code == 428
    changed = admin.patch("/v1/users/linus", json=wanted, headers=state)
    assert (changed.json()["role"], changed.json()["sources"]) == ("analyst", ["web"])
    assert admin.patch("/v1/users/linus", json=wanted, headers=state).status_code == 412
    state = {"If-Match": changed.headers["etag"]}
    disabled = admin.patch("/v1/users/linus", json={"is_active": False}, headers=state).json()
    assert (disabled["role"], disabled["sources"]) == ("analyst", ["web"])
    assert disabled["is_active"] is False
    anything = {"If-Match": "*"}
    assert admin.patch("/v1/users/nobody", json={}, headers=anything).status_code == 404
    listed = admin.get("/v1/users", params={"limit": 1}).json()
    assert (len(listed["items"]), bool(listed["next"])) == (1, True)
    assert admin.post("/v1/users", json={"name": "A B", "role": "viewer"}).status_code == 422
    short = {"name": "ken", "role": "viewer", "password": "short"}
    assert admin.post("/v1/users", json=short).status_code == 422
    assert admin.post("/v1/users", json={"name": "linus", "role": "viewer"}).status_code == 409
    token = admin.post("/v1/tokens", json={"name": "made-by-http", "role": "viewer"})
    assert token.status_code == 201
    assert admin.delete("/v1/tokens/made-by-http").status_code == 204
    assert admin.delete("/v1/tokens/made-by-http").status_code == 404
    with postgres.connect(settings) as connection:
        audit = connection.execute(
            "SELECT changed_by, new_value FROM audit_logs"
            " WHERE table_name = 'users' AND row_key = 'linus' ORDER BY changed_at"
        ).fetchall()
    assert {row["changed_by"] for row in audit} == {"token:tests-admin", "linus"}
    assert [row["new_value"]["role"] for row in audit][-1] == "analyst"
    assert "argon2" not in repr(audit)


def test_the_last_admin_stays_one(settings: Settings) -> None:
    with postgres.connect(settings) as connection, connection.transaction(force_rollback=True):
        connection.execute("UPDATE users SET is_active = false WHERE name <> %s", [users.FIRST])
        for rights, is_active in ((Rights("viewer"), True), (Rights("admin"), False)):
            with pytest.raises(users.AccessError, match="last admin"):
                users.change(connection, users.FIRST, rights, is_active=is_active)
        users.add(connection, "second-admin", Rights("admin"))
        assert users.change(connection, users.FIRST, Rights("viewer")).role == "viewer"


def test_the_first_admin_has_the_password_that_up_shows(client: httpx.Client, stack: Stack) -> None:
    session = signed_in(client, users.FIRST, stack.secrets["MILLRACE_ADMIN_PASSWORD"])
    until(lambda: me(client, session["access_token"]).json().get("role") == "admin", 5)


def test_users_of_airflow_come_over_with_a_ticket_that_works_once(
    client: httpx.Client, settings: Settings
) -> None:
    seal = Seal(settings)
    place = {"ticket": tickets.issue(seal, "Marie", {"Op", "Viewer"}), "next": "/docs"}
    led = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/v1/airflow/session", params=place, headers=led).status_code == 401
    arrived = client.get("/v1/airflow/session", params=place)
    assert arrived.status_code == 200, arrived.text
    assert 'content="0;url=/docs"' in arrived.text
    until(lambda: client.get("/v1/me").is_success, 5)
    said = client.get("/v1/me").json()
    assert (said["name"], said["role"], said["kind"]) == ("marie@airflow", "operator", "airflow")
    again = client.get("/v1/airflow/session", params=place)
    assert (again.status_code, "used before" in again.json()["detail"]) == (401, True)
    for text in ("", "a.b.c.d.e", seal.seal(["another", "x", "Eve", "admin", 9e9])):
        assert client.get("/v1/airflow/session", params={"ticket": text}).status_code == 401
    with pytest.raises(users.AccessError, match="none of Airflow's roles"):
        tickets.issue(seal, "Marie", {"Public"})


def test_no_secret_is_in_the_log_or_the_audit(
    client: httpx.Client, query_clients: Clients, stack: Stack, settings: Settings, ada: str
) -> None:
    session = signed_in(client, ada)
    refreshed = client.post("/v1/refresh", json={"refresh_token": session["refresh_token"]}).json()
    client.post("/v1/refresh", json={"refresh_token": session["refresh_token"]})
    client.post("/v1/login", json={"name": ada, "password": "a secret that is wrong"})
    client.post("/v1/login", json={"name": ada, "password": ["a secret in a list"]})
    client.get("/v1/nowhere", headers={"Authorization": f"Bearer {session['access_token']}"})
    token = query_clients["viewer"].headers["authorization"].removeprefix("Bearer ")
    assert query_clients["viewer"].get("/v1/me").is_success
    said = stack.log("query-api").read_text()
    with postgres.connect(settings) as connection:
        said += repr(connection.execute("SELECT old_value, new_value FROM audit_logs").fetchall())
    assert "a login of 'ada' from 127.0.0.1 failed" in said
    for secret in (
        PASSWORD,
        "a secret",
        session["access_token"].split(".")[2],
        session["refresh_token"].split("_")[2],
        refreshed["refresh_token"].split("_")[2],
        token.split("_")[2],
        stack.secrets["MILLRACE_ADMIN_PASSWORD"],
        stack.secrets["MILLRACE_QUERY_KEY"],
    ):
        assert secret not in said
    assert b"a secret" not in client.post("/v1/login", json={"password": ["a secret"]}).content


def test_answers_have_headers_that_browsers_obey(client: httpx.Client) -> None:
    for path in ("/livez", "/v1/me", "/nowhere"):
        headers = client.get(path, headers={"X-Request-Id": "asked-for-1"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"] == "asked-for-1"
        assert "frame-ancestors" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_redis_may_be_empty(client: httpx.Client, settings: Settings, ada: str) -> None:
    cache.connect(settings).flushdb()
    assert signed_in(client, ada)
