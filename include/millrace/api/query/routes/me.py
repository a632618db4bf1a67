"""Who one is, as the API sees it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from millrace.access.roles import Role
from millrace.api.query.identity import Viewer
from millrace.api.query.problems import declared

router = APIRouter(prefix="/v1", tags=["people"])


class Me(BaseModel):
    """Somebody who was recognised, with their rights."""

    name: str
    role: Role
    kind: str = Field(description="How they were recognised: user, token or airflow.")
    sources: list[str] | None = Field(description="Sources that they may see; null: all.")
    datasets: list[str] | None = Field(description="Datasets that they may see; null: all.")


@router.get("/me", responses=declared(401, 403))
async def me(principal: Viewer) -> Me:
    """Tell who asks, and what they may."""
    sources, datasets = principal.sources, principal.datasets
    return Me(
        name=principal.name,
        role=principal.role,
        kind=principal.kind,
        sources=None if sources is None else sorted(sources),
        datasets=None if datasets is None else sorted(datasets),
    )
