"""The page that shows every route: Swagger UI as it is published, and nothing from elsewhere.

``protection`` gives it the policy that its scripts and styles are files of this origin.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from millrace.api.http import JSON
from millrace.api.query.asked import is_unchanged

router = APIRouter(include_in_schema=False)

OURS = resources.files("millrace.api.query").joinpath("static")
PUBLISHED = resources.files("fastapi_swagger.resources")
PAGE = "docs.html"
DOCUMENT = "openapi.json"
"""What the page shows: the document of the API, with the ways to sign in that a page can offer."""
FILES = {
    PAGE: (OURS, "text/html; charset=utf-8"),
    "page.css": (OURS, "text/css; charset=utf-8"),
    "page.js": (OURS, "text/javascript; charset=utf-8"),
    "favicon-32x32.png": (PUBLISHED, "image/png"),
    "swagger-ui-bundle.js": (PUBLISHED, "text/javascript; charset=utf-8"),
    "swagger-ui.css": (PUBLISHED, "text/css; charset=utf-8"),
}
"""The page and what it loads: where each lies, and its kind."""


@dataclass(frozen=True)
class _File:
    kind: str
    content: bytes
    packed: bytes
    etag: str


@cache
def _file(name: str) -> _File:
    folder, kind = FILES[name]
    return _packed(kind, folder.joinpath(name).read_bytes())


@cache
def _document(app: FastAPI) -> _File:
    return _packed(JSON, orjson.dumps(_offered(app.openapi())))


def _packed(kind: str, content: bytes) -> _File:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(kind, content, gzip.compress(content, 6, mtime=0), etag)


def _offered(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without cookies among the ways to sign in.

    No script may set a request's cookie, and those of who signed in are sent without being asked.
    """
    components = document.get("components", {})
    schemes = {
        name: scheme
        for name, scheme in components.get("securitySchemes", {}).items()
        if scheme.get("in") != "cookie"
    }
    paths = {
        path: {
            method: operation | {"security": [way for way in ways if way.keys() <= schemes.keys()]}
            if (ways := operation.get("security"))
            else operation
            for method, operation in methods.items()
        }
        for path, methods in document["paths"].items()
    }
    return document | {"components": components | {"securitySchemes": schemes}, "paths": paths}


@router.get("/", status_code=303, response_class=RedirectResponse)
def start() -> str:
    """Lead to the page who opens the address itself, or signed in without saying where to go."""
    return "/docs"


@router.get("/docs")
def page(request: Request) -> Response:
    """Return the page."""
    return _answer(request, _file(PAGE))


@router.get("/docs/{name}")
def asset(request: Request, name: str) -> Response:
    """Return what the page loads."""
    if name == DOCUMENT:
        return _answer(request, _document(request.app))
    if name not in FILES or name == PAGE:
        raise HTTPException(404)
    return _answer(request, _file(name))


def _answer(request: Request, found: _File) -> Response:
    headers = {
        "cache-control": "no-cache",  # kept, and asked for again whether it is the same
        "etag": f"W/{found.etag}",
        "vary": "accept-encoding",
    }
    if is_unchanged(request.headers.get("if-none-match", ""), found.etag):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(found.packed, headers=headers, media_type=found.kind)
    return Response(found.content, headers=headers, media_type=found.kind)
