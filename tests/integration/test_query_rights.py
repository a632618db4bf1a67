"""Who may ask which route of the query API: every route of the OpenAPI document, as everybody.

A route that ``RIGHTS`` does not name fails, so that nobody opens one by forgetting to close it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from millrace.access.roles import ROLES
from millrace.api.query.app import create
from millrace.settings import Settings

Clients = Mapping[str, httpx.Client]

RIGHTS = {
    "none": """
        GET /.well-known/jwks.json
        GET /healthz
        GET /livez
        GET /readyz
        GET /v1/airflow/session
        POST /v1/login
        POST /v1/logout
        GET /v1/oidc/callback
        GET /v1/oidc/login
        POST /v1/refresh
    """,
    "viewer": """
        GET /api/v1/alerts
        GET /api/v1/label/{name}/values
        GET /api/v1/labels
        POST /api/v1/labels
        GET /api/v1/metadata
        GET /api/v1/query
        POST /api/v1/query
        GET /api/v1/query_range
        POST /api/v1/query_range
        GET /api/v1/rules
        GET /api/v1/series
        POST /api/v1/series
        GET /api/v1/status/buildinfo
        GET /metrics
        GET /v1/event-types
        GET /v1/event-types/{event_type}
        POST /v1/graphql
        GET /v1/items
        GET /v1/live
        GET /v1/me
        GET /v1/metrics
        POST /v1/query
        PUT /v1/me/password
        GET /v1/saved
        GET /v1/saved/{object_id}
        GET /v1/sources
        GET /v1/sources/{source_id}
        GET /v1/stats
    """,
    "analyst": """
        GET /v1/samples
        GET /v1/reports
        DELETE /v1/reports/{name}
        GET /v1/reports/{name}
        PUT /v1/reports/{name}
        GET /v1/reports/{name}/runs
        GET /v1/reports/{name}/runs/{run_id}/page
        GET /v1/events/{event_id}
        POST /v1/saved
        DELETE /v1/saved/{object_id}
        PATCH /v1/saved/{object_id}
        GET /v1/sessions/{session_id}
        GET /v1/users/{user_id}/activity
    """,
    "operator": """
        GET /v1/alert-routes
        GET /v1/alert-routes/{name}
        GET /v1/alert-rules
        POST /v1/alert-rules/dry-run
        GET /v1/alert-rules/{name}
        GET /v1/exports
        GET /v1/exports/{name}
        GET /v1/exports/{name}/runs
        GET /v1/jobs
        POST /v1/jobs
        DELETE /v1/jobs/{job}
        GET /v1/jobs/{job}
        POST /v1/jobs/{job}/answer
        GET /v1/jobs/{job}/events
        GET /v1/maintenance-windows
        POST /v1/maintenance-windows
        DELETE /v1/maintenance-windows/{name}
        GET /v1/maintenance-windows/{name}
        PUT /v1/maintenance-windows/{name}
        GET /v1/rules
        POST /v1/rules/dry-run
        GET /v1/rules/{name}
        GET /v1/silences
        POST /v1/silences
        DELETE /v1/silences/{silence_id}
        GET /v1/silences/{silence_id}
    """,
    "admin": """
        POST /v1/alert-routes
        PATCH /v1/alert-routes/{name}
        POST /v1/alert-rules
        DELETE /v1/alert-rules/{name}
        PATCH /v1/alert-rules/{name}
        PUT /v1/alert-rules/{name}
        GET /v1/audit-log
        POST /v1/event-types
        PATCH /v1/event-types/{event_type}
        POST /v1/exports
        DELETE /v1/exports/{name}
        PATCH /v1/exports/{name}
        PUT /v1/exports/{name}
        POST /v1/rules
        DELETE /v1/rules/{name}
        PATCH /v1/rules/{name}
        PUT /v1/rules/{name}
        GET /v1/settings
        POST /v1/sources
        PATCH /v1/sources/{source_id}
        GET /v1/sources/{source_id}/keys
        POST /v1/sources/{source_id}/keys
        DELETE /v1/sources/{source_id}/keys/{name}
        GET /v1/sources/{source_id}/keys/{name}
        POST /v1/sources/{source_id}/keys/{name}/rotate
        GET /v1/tokens
        POST /v1/tokens
        DELETE /v1/tokens/{name}
        GET /v1/users
        POST /v1/users
        GET /v1/users/{name}
        PATCH /v1/users/{name}
        PUT /v1/users/{name}/password
    """,
}
"""The least role that may ask a route; ``none``: everybody, also who is not known."""

UNDOCUMENTED = {"/", "/docs", "/docs/{name}", "/openapi.json"}
"""Pages that describe the API; open to everybody."""

EVERYBODY = ("none", *ROLES)
NEEDS = {
    line.strip(): role for role, lines in RIGHTS.items() for line in lines.strip().splitlines()
}


@pytest.fixture(scope="module")
def operations(query_api: str) -> Mapping[str, Any]:
    """Every operation of the running API, by its method and path."""
    paths = httpx.get(f"{query_api}/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_every_route_is_named_here(operations: Mapping[str, Any]) -> None:
    assert set(operations) == set(NEEDS)


def test_every_route_is_in_the_document(operations: Mapping[str, Any], settings: Settings) -> None:
    paths = {operation.partition(" ")[2] for operation in operations}
    for route in create(settings).routes:
        assert isinstance(route, Route), f"{route} is no route whose rights are known"
        path = route.path_format
        assert path in paths | UNDOCUMENTED, f"{path} is in no document"


def test_below_its_role_nobody_is_answered(
    operations: Mapping[str, Any], query_clients: Clients
) -> None:
    wrong = []
    for operation in operations:
        needed = EVERYBODY.index(NEEDS[operation])
        for role in EVERYBODY[:needed]:
            status = asked(query_clients[role], operation, operations)
            if status != (401 if role == "none" else 403):
                wrong.append(f"{operation} answers {role} with {status}")
    assert not wrong, "\n".join(wrong)


def test_from_its_role_on_everybody_is_answered(
    operations: Mapping[str, Any], query_clients: Clients
) -> None:
    wrong = []
    for operation in harmless(operations):
        needed = EVERYBODY.index(NEEDS[operation])
        for role in EVERYBODY[max(needed, 1) :]:
            status = asked(query_clients[role], operation, operations)
            if status in (401, 403) or (status >= 500 and status != 503):
                wrong.append(f"{operation} answers {role} with {status}")
    assert not wrong, "\n".join(wrong)


def harmless(operations: Mapping[str, Any]) -> Iterator[str]:
    """Yield the operations that change nothing as ``asked`` asks: no such thing, or no body."""
    for operation, described in operations.items():
        is_of_something = "{" in operation
        has_body = described.get("requestBody", {}).get("required", False)
        if operation.startswith("GET ") or is_of_something or has_body:
            yield operation


def asked(client: httpx.Client, operation: str, operations: Mapping[str, Any]) -> int:
    """Return the status that is answered, without waiting for the end of a stream."""
    method, _, path = operation.partition(" ")
    for parameter in operations[operation].get("parameters", []):
        path = path.replace(f"{{{parameter['name']}}}", "no-such-thing")
    options: dict[str, Any] = {"headers": {"If-Match": '"none"'}}
    if "requestBody" in operations[operation]:
        options["json"] = []
    with client.stream(method, path, **options) as answer:
        return answer.status_code
