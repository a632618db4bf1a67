"""Data Docs in the Airflow UI: *Data quality* in the menu, for whoever is logged in.

The pages come from object storage, where `check_quality` keeps them, so that they are there on
whatever machine the API server runs. Every process of Airflow imports its plugins, so what only the
API server needs is imported when it is first asked for a page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI

SERVED_AT = "/data-docs"


@lru_cache(maxsize=1)
def pages() -> FastAPI:
    """Return the app that shows pages."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import Response
    from minio.error import S3Error

    from millrace.quality import docs
    from millrace_connections import settings

    app = FastAPI(dependencies=[Depends(get_user)], docs_url=None, redoc_url=None)

    @app.get("/{page:path}")
    def show(page: str) -> Response:
        try:
            content, media_type = docs.read(settings(), page or docs.FRONT_PAGE)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            reason = f"no page {page}: reports stay {docs.KEPT_FOR.days} days"
            raise HTTPException(404, f"{reason}, and the first comes with check_quality") from error
        return Response(content, media_type=media_type)

    return app


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request (ASGI)."""
    await pages()(scope, receive, send)


class DataDocs(AirflowPlugin):
    """Serve the pages, and lead to them from the menu."""

    name = "millrace_data_docs"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": app, "url_prefix": SERVED_AT, "name": "Data Docs"}
    ]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Data quality",
            "href": f"{SERVED_AT}/index.html",
            "destination": "nav",
            "category": "browse",
            "url_route": "data-quality",
        }
    ]
