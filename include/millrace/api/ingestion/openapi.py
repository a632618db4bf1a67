"""What the API says of itself: OpenAPI 3.1, and a page of it that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any

from millrace.api.http import Request
from millrace.api.ingestion.families import FAMILIES
from millrace.api.ingestion.families.family import Family
from millrace.contract.failures import REASONS
from millrace.contract.fields import FIELDS

STYLE = (
    "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "td{padding:.2rem .6rem;vertical-align:top;overflow-wrap:anywhere}"
)
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
"""What browsers let the page do: nothing but its own style."""

TYPES = {"text": "string", "uuid": "string", "time": "string", "user_id": "integer"}
PROBLEMS = {
    "400": "The body can't be read as a batch",
    "401": "No key, or none that is known",
    "403": "The key may not be used so, or from this origin",
    "404": "There is no such path",
    "405": "The path takes another method",
    "408": "The body came too slowly",
    "413": "Too long, or too many events",
    "415": "The body is packed in a way that is not known",
    "422": "Too long, where an SDK would send again after 413",
    "429": "Beyond the rate or the quota of the key",
    "500": "The API failed",
    "503": "The events can be kept nowhere now",
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for method, path in family.routes:
            named = path.replace("*", "{rest}")
            place = paths.setdefault(named, {})
            place.setdefault(method.lower(), _operation(family, method, named))
    for path, (summary, kind) in WATCHED.items():
        paths[path] = {"get": _watched(path, summary, kind)}
    for path, summary in PAGES.items():
        paths[path] = {
            "get": {
                "summary": summary,
                "operationId": f"get{path.replace('/', '_').replace('.', '_')}",
                "responses": {"200": {"description": "OK"}, "503": {"description": "Not ready"}},
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millrace ingestion API", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Event": _event(), "Taken": _taken(), "Problem": _problem()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


PAGES = {
    "/livez": "Whether the process lives",
    "/readyz": "Whether events are taken, and why not",
    "/healthz": "The same as /readyz",
    "/health": "The same as /readyz",
    "/metrics": "Prometheus metrics",
    "/m.js": "The web tracker",
    "/openapi.json": "This document",
    "/docs": "This document as a page",
    "/robots.txt": "That nothing here is for search engines",
}
WATCHED = {
    "/v1/events/live": ("The events of the key's source as they come", "text/event-stream"),
    "/v1/sources/{source_id}/debug": ("The last events of a source", "application/json"),
}
"""What a key of the scope read:live is for: what each is, and the kind of its answer."""


def _operation(family: Family, method: str, path: str) -> dict[str, Any]:
    is_asked_first = family.discovery(Request(method, path)) is not None
    operation: dict[str, Any] = {
        "summary": f"What SDKs of {family.name} ask or say of themselves, which is no event"
        if is_asked_first
        else f"Events as {family.name} sends them",
        "operationId": f"{method.lower()}{path.replace('/', '_')}",
        "tags": [family.name],
        "parameters": _parameters(path),
        "responses": {
            "200": {
                "description": "Every event is durable",
                "content": _taken_as(family.name, method),
            },
            **_refusals(*PROBLEMS),
        },
    }
    if method == "POST":
        one = {"$ref": "#/components/schemas/Event"}
        own = {"oneOf": [one, {"type": "array", "items": one, "maxItems": 2000}]}
        operation["requestBody"] = {
            "content": {"application/json": {"schema": own if family.name == "millrace" else {}}}
        }
    return operation


def _watched(path: str, summary: str, kind: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": f"get{path.replace('/', '_')}",
        "parameters": _parameters(path),
        "responses": {
            "200": {"description": "OK", "content": {kind: {}}},
            **_refusals("400", "401", "403", "404", "405", "503"),
        },
    }


def _parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part[:1] == "{"]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _refusals(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": PROBLEMS[status],
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status in statuses
    }


def _taken_as(family: str, method: str) -> dict[str, Any]:
    """Return the kinds of answers of success: JSON, and what pixels and scripts ask for."""
    if family == "millrace":
        return {"application/json": {"schema": {"$ref": "#/components/schemas/Taken"}}}
    kinds: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if family in {"mixpanel", "shared"}:
        kinds["text/plain"] = {"schema": {"const": "1"}}
    if family == "posthog":
        kinds["text/javascript"] = {"schema": {"type": "string"}}
    if method == "GET" or family in {"mixpanel", "shared"}:
        kinds["image/gif"] = {"schema": {"type": "string"}}
    return kinds


def _event() -> dict[str, Any]:
    return {
        "type": "object",
        "required": [field.name for field in FIELDS if field.is_required],
        "properties": {
            field.name: {"type": TYPES.get(field.reader, "object"), "description": field.meaning}
            for field in FIELDS
        },
        "additionalProperties": True,
    }


def _taken() -> dict[str, Any]:
    rejected = {name: {"type": "string"} for name in ("event_id", "field", "detail")}
    return {
        "type": "object",
        "required": ["status", "count", "accepted", "rejected"],
        "properties": {
            "status": {"const": "accepted"},
            "count": {"type": "integer"},
            "accepted": {"type": "integer"},
            "rejected": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "reason": {"enum": list(REASONS)},
                        **rejected,
                    },
                },
            },
        },
    }


def _problem() -> dict[str, Any]:
    texts = ("type", "title", "detail", "instance", "message", "error")
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {name: {"type": "string"} for name in texts} | {"status": {}, "code": {}},
    }


def page() -> str:
    """Return the document as a page to read."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {html.escape(path)}</code><td>"
        f"{html.escape(operation['summary'])}"
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Millrace ingestion API</title><style>{STYLE}</style>"
        "<h1>Millrace ingestion API</h1><p>Each path as programs read it: "
        f"<a href=/openapi.json>openapi.json</a>.<table>{rows}</table></html>"
    )
