"""Who the query API knows: tokens that work within seconds, and stop working within seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx
from tests.helpers.wait import until
from typer.testing import CliRunner, Result

from millrace.access import keys, tokens
from millrace.cli.main import app
from millrace.settings import Settings
from millrace.stores import postgres

Clients = Mapping[str, httpx.Client]


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def me(client: httpx.Client, text: str) -> httpx.Response:
    return client.get("/v1/me", headers={"Authorization": f"Bearer {text}"})


def test_each_role_is_told_who_it_is(query_clients: Clients) -> None:
    for role in ("viewer", "analyst", "operator", "admin"):
        assert query_clients[role].get("/v1/me").json() == {
            "name": f"token:tests-{role}",
            "role": role,
            "kind": "token",
            "sources": None,
            "datasets": None,
        }
    refused = query_clients["none"].get("/v1/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "not_recognised")
    assert refused.headers["www-authenticate"] == "Bearer"
    for text in ("-", "mrq_", f"mrq_{'a' * 8}_{'b' * 43}"):
        assert me(query_clients["none"], text).status_code == 401


def test_a_token_is_printed_alone_used_and_revoked(
    query_clients: Clients, settings: Settings
) -> None:
    made = typed(
        "tokens", "add", "grafana", "--role", "viewer", "--source", "web", "--source", "app"
    )
    text = made.stdout.removesuffix("\n")
    assert made.exit_code == 0, made.output
    assert tokens.TEXT.fullmatch(text)
    client = query_clients["none"]
    assert me(client, text).json()["sources"] == ["app", "web"]
    with postgres.connect(settings) as connection:
        (row,) = connection.execute("SELECT * FROM api_tokens WHERE name = 'grafana'").fetchall()
        audit = connection.execute(
            "SELECT new_value::text AS new FROM audit_logs WHERE table_name = 'api_tokens'"
            " AND row_key = 'grafana'"
        ).fetchall()
    assert row["digest"] == keys.digest(text)
    assert len(audit) == 1
    assert text.split("_")[2] not in repr(row) + repr(audit)

    def listed() -> dict[str, str]:
        rows = json.loads(typed("tokens", "list", "--json").stdout)
        return next(row for row in rows if row["name"] == "grafana")

    until(lambda: listed()["used_at"], 5)
    assert listed()["state"] == "active"
    again = typed("tokens", "add", "grafana", "--role", "admin")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "there is a token grafana already" in " ".join(again.stderr.split())
    assert typed("tokens", "revoke", "grafana").exit_code == 0
    until(lambda: me(client, text).status_code == 401, 5)
    assert listed()["state"] == "revoked"
    assert typed("tokens", "revoke", "grafana").exit_code == 2
