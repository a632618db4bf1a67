"""GraphQL: the same numbers for programs that ask by it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from millrace.api.query import graph
from millrace.api.query.identity import Viewer
from millrace.api.query.problems import declared
from millrace.api.query.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["numbers"])


class Document(BaseModel):
    """A GraphQL request."""

    query: Annotated[str, Field(max_length=20_000)]
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815  GraphQL's name


class Error(BaseModel):
    """What went wrong; ``extensions.code`` is one of docs/query-api.md."""

    message: str
    extensions: dict[str, Any]
    locations: list[dict[str, int]] | None = None
    path: list[str | int] | None = None


class Outcome(BaseModel):
    """A GraphQL answer."""

    data: dict[str, Any] | None
    errors: list[Error] | None = None


@router.post(
    "/graphql",
    response_model=Outcome,
    response_model_exclude_unset=True,
    responses=declared(401, 403, 422, 503),
)
async def graphql(service: ServiceOf, whose: Viewer, document: Document) -> dict[str, Any]:
    """Ask by GraphQL; the schema tells itself by introspection."""
    context = graph.Context(service.answering, whose)
    return await graph.execute(
        document.query, document.variables or {}, document.operationName, context
    )
