"""What the pages that plugins add to Airflow share: who may see them, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from fastapi import FastAPI


def address(path: str) -> str:
    """Return where a page is for browsers: below the path of Airflow's ``[api] base_url``."""
    from airflow.configuration import conf

    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path
    return base.rstrip("/") + path


def app_for_users() -> FastAPI:
    """Return an app that answers whoever is logged in to Airflow; its routes are yet to be added.

    A browser that is not logged in is led to Airflow's login, and back. A program, which asks for
    no HTML or brings a token, is told.
    """
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, FastAPI, HTTPException, Request
    from fastapi.exception_handlers import http_exception_handler
    from fastapi.responses import RedirectResponse, Response

    app = FastAPI(dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        is_browser = "text/html" in request.headers.get("accept", "")
        is_program = not is_browser or "authorization" in request.headers
        if is_program or error.status_code not in {401, 403}:
            return await http_exception_handler(request, error)
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        login = address("/api/v2/auth/login")
        return RedirectResponse(f"{login}?{urlencode({'next': back})}", 303)

    return app
