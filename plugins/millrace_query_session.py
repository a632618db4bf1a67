"""The query API for whoever is logged in to Airflow: *Query API* in the menu, no second login.

The plugin asks Airflow who it is, and gives the browser a ticket that the query API takes for a
login, once and within a minute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

import millrace_pages

if TYPE_CHECKING:
    from fastapi import FastAPI

SERVED_AT = "/query-api"


@lru_cache(maxsize=1)
def entrance() -> FastAPI:
    """Return the app that leads to the query API."""
    from urllib.parse import urlencode

    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends
    from fastapi.responses import JSONResponse, RedirectResponse

    from millrace.access import tickets
    from millrace.access.keys import AccessError
    from millrace.access.signing import Seal
    from millrace.settings import Settings

    app = millrace_pages.app_for_users()
    settings = Settings()
    seal = Seal(settings)

    @app.get("/")
    def lead(user: Any = Depends(get_user), next: str = "/docs") -> Any:  # noqa: B008
        try:
            ticket = tickets.issue(seal, user.get_name(), _roles(user))
        except AccessError as error:
            return JSONResponse({"detail": f"{error}."}, 403)  # no other login would help
        query = urlencode({"ticket": ticket, "next": next})
        return RedirectResponse(f"{settings.query_url}/v1/airflow/session?{query}", 303)

    return app


def _roles(user: Any) -> set[str]:
    """Return the names of a user's roles, as the auth managers have them."""
    several = [getattr(role, "name", str(role)) for role in getattr(user, "roles", None) or ()]
    one = getattr(user, "role", None)
    return {*several, *([str(one)] if one else [])}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request (ASGI)."""
    await entrance()(scope, receive, send)


class QuerySession(AirflowPlugin):
    """Serve the entrance, and lead to it from the menu."""

    name = "millrace_query_session"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": app, "url_prefix": SERVED_AT, "name": "Query API"}
    ]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Query API",
            "href": millrace_pages.address(f"{SERVED_AT}/"),
            "destination": "nav",
            "category": "browse",
        }
    ]
