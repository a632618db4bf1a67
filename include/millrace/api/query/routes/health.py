"""Whether the process lives, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from millrace.api.query.service import ServiceOf

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How it is."""

    status: str
    problems: list[str] = []


@router.get("/livez")
async def livez() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


async def _ready(service: ServiceOf, response: Response) -> Health:
    """Tell whether questions can be answered, and why not."""
    problems = await service.problems()
    response.status_code = 503 if problems else 200
    return Health(status="unavailable" if problems else "ok", problems=problems)


for path in ("/readyz", "/healthz"):
    router.add_api_route(path, _ready, responses={503: {"model": Health}})
