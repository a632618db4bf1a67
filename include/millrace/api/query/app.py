"""The application: its routes, and what is done to every request."""

from __future__ import annotations

import gc
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute

from millrace.api.query import problems
from millrace.api.query.front import Front
from millrace.api.query.instruments import Timed
from millrace.api.query.leaving import Leaving
from millrace.api.query.routes import ROUTERS
from millrace.api.query.service import Service
from millrace.settings import Settings

ANYWHERE = problems.declared(400, 403, 413, 422, 429, 503) | {
    414: {"description": "URI Too Long"}  # by the server itself, without a word
}
"""Refusals that any route may have: a request that can't be read or is another site's page's, too
many of them, and servers that do not answer."""

_END = re.compile(r"[;:] |(?<=\.) ")
"""Where what a description begins with ends."""

COLLECT_AFTER = (50_000, 20, 100)
"""How seldom Python looks for cycles of objects: each look holds up all who ask."""


def create(settings: Settings) -> FastAPI:
    """Return the ASGI application of one process."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        gc.freeze()  # what there is stays: to look at it again and again would hold everyone up
        gc.set_threshold(*COLLECT_AFTER)
        yield
        await service.stop()

    app = FastAPI(
        title="Millrace query API",
        version=version("millrace"),
        lifespan=lifespan,
        docs_url=None,  # routes.docs shows it without a file from elsewhere
        redoc_url=None,
        description="Numbers that say what they are worth, and the administration of everything.",
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(Leaving)
    app.add_middleware(Front, service=service)
    app.add_middleware(Timed)
    for router in ROUTERS:
        app.include_router(router, responses=ANYWHERE)
    for route in app.routes:
        if isinstance(route, APIRoute):
            _summarise(route)
    return app


def _summarise(route: APIRoute) -> None:
    """Call a route what its description begins with, where FastAPI would take its function's name.

    What is all of the description is not said twice.
    """
    if route.summary is None and route.description:
        first = route.description.partition("\n\n")[0].replace("\n", " ")
        said = _END.split(first)[0].replace("`", "")
        route.summary = said.removesuffix(".")
        if route.description == said:
            route.description = ""
