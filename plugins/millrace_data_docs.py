"""Pages in the Airflow UI for whoever is logged in: *Data quality* and *dbt docs* in the menu.

The pages come from object storage, where `check_quality` and each deployment of models keep them,
so that they are there on whatever machine the API server runs. Every process of Airflow imports its
plugins, so what only the API server needs is imported when it is first asked for a page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

import millrace_pages

if TYPE_CHECKING:
    from fastapi import FastAPI

DATA_DOCS = "/data-docs"
DBT_DOCS = "/dbt-docs"


def _site(
    policy: str, read: Callable[[str], tuple[bytes, str]], missing: Callable[[str], str]
) -> FastAPI:
    """Return an app that shows whoever is logged in the pages that ``read`` finds."""
    from fastapi.responses import HTMLResponse, Response

    app = millrace_pages.app_for_users()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }

    @app.get("/{page:path}")
    def show(page: str) -> Response:
        try:
            content, media_type = read(page or "index.html")
        except FileNotFoundError:
            return HTMLResponse(missing(page), 404, headers)
        return Response(content, headers=headers, media_type=media_type)

    return app


@lru_cache(maxsize=1)
def data_docs() -> FastAPI:
    """Return the app that shows Data Docs."""
    from millrace.quality import docs
    from millrace_connections import settings

    return _site(
        docs.content_security_policy(), lambda page: docs.read(settings(), page), docs.missing
    )


@lru_cache(maxsize=1)
def dbt_docs() -> FastAPI:
    """Return the app that shows dbt's documentation."""
    from millrace.transform import docs
    from millrace_connections import settings

    return _site(
        docs.CONTENT_SECURITY_POLICY,
        lambda page: docs.read(settings(), page),
        lambda _: docs.MISSING,
    )


async def answer_data_docs(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request for Data Docs (ASGI)."""
    await data_docs()(scope, receive, send)


async def answer_dbt_docs(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request for dbt's documentation (ASGI)."""
    await dbt_docs()(scope, receive, send)


class DataDocs(AirflowPlugin):
    """Serve the pages, and lead to them from the menu."""

    name = "millrace_data_docs"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": answer_data_docs, "url_prefix": DATA_DOCS, "name": "Data Docs"},
        {"app": answer_dbt_docs, "url_prefix": DBT_DOCS, "name": "dbt docs"},
    ]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Data quality",
            "href": millrace_pages.address(f"{DATA_DOCS}/index.html"),
            "destination": "nav",
            "category": "browse",
            "url_route": "data-quality",
        },
        {
            "name": "dbt docs",
            "href": millrace_pages.address(f"{DBT_DOCS}/index.html"),
            "destination": "nav",
            "category": "browse",
            "url_route": "dbt-docs-of-millrace",
        },
    ]
