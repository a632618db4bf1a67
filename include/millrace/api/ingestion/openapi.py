"""What the API says of itself: OpenAPI 3.1, and a page of it that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any

from millrace.api.ingestion.families import FAMILIES
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
            place.setdefault(method.lower(), _operation(family.name, method, named))
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
    "/metrics": "Prometheus metrics",
    "/m.js": "The web tracker",
    "/openapi.json": "This document",
}


def _operation(family: str, method: str, path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part[:1] == "{"]
    operation: dict[str, Any] = {
        "summary": f"Events as {family} sends them",
        "operationId": f"{method.lower()}{path.replace('/', '_')}",
        "tags": [family],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {
            "200": {
                "description": "Every event is durable",
                "content": _taken_as(family, method),
            },
            **{
                status: {
                    "description": text,
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
                for status, text in PROBLEMS.items()
            },
        },
    }
    if method == "POST":
        one = {"$ref": "#/components/schemas/Event"}
        own = {"oneOf": [one, {"type": "array", "items": one, "maxItems": 2000}]}
        operation["requestBody"] = {
            "content": {"application/json": {"schema": own if family == "millrace" else {}}}
        }
    return operation


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
