"""The numbers as a GraphQL schema, over what answers ``GET /v1/metrics``, too."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pydantic
import strawberry
from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    parse,
)
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.scalars import JSON
from strawberry.schema.exceptions import CannotGetOperationTypeError

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import answer, questions
from millrace.api.query import parameters as said
from millrace.api.query.answering import Answering
from millrace.api.query.asked import Inquiry, Manner, page

log = logging.getLogger(__name__)

MOST_DEPTH = 8
MOST_TOKENS = 1_000
MOST_ALIASES = 20
"""Of fields asked twice under different names: what makes a small document ask much."""
MOST_SPREADS = 100
"""Of fragments, each counted as often as it is met: two of the next in each of thirty are 10^9."""


@dataclass(frozen=True)
class Context:
    """Who asks, and what answers."""

    answering: Answering
    whose: Principal


@strawberry.type
class Point:
    """A bucket's value; null where status says why there is none."""

    value: float | None
    status: str
    reason: str
    compared: float | None

    @strawberry.field
    def start(root: strawberry.Parent[answer.Point]) -> datetime:  # noqa: N805
        """Return the bucket's start, in UTC."""
        return root.bucket.start

    @strawberry.field
    def end(root: strawberry.Parent[answer.Point]) -> datetime:  # noqa: N805
        """Return the bucket's end, which is not in it."""
        return root.bucket.end


@strawberry.type
class Series:
    """A group's points, in order, and their sums where they add up."""

    group: JSON
    points: list[Point]
    total: float | None
    compared_total: float | None


@strawberry.type
class Metric:
    """A metric's series, the largest first."""

    name: str
    unit: str
    kind: str
    meaning: str
    series: list[Series]


@strawberry.type
class Change:
    """Why past numbers of the range changed, and when."""

    cause: str
    detail: str
    at: datetime
    start: datetime
    end: datetime


@strawberry.type
class Answer:
    """The answer to a question, and what it is worth."""

    metrics: list[Metric]
    changes: list[Change]
    complete_until: datetime
    generation: str

    @strawberry.field
    def next(root: strawberry.Parent[answer.Answer]) -> str | None:  # noqa: N805
        """Return the cursor of the groups that follow, if some do."""
        return root.following

    @strawberry.field
    def cache(root: strawberry.Parent[answer.Answer]) -> str:  # noqa: N805
        """Return where its numbers were found: process, redis, computed or stale."""
        return root.cost.layer

    @strawberry.field
    def rows_read(root: strawberry.Parent[answer.Answer]) -> float:  # noqa: N805
        """Return how many rows ClickHouse read for it now."""
        return root.cost.rows_read

    @strawberry.field
    def start(root: strawberry.Parent[answer.Answer]) -> datetime:  # noqa: N805
        """Return the range's start, in UTC."""
        return root.question.start

    @strawberry.field
    def end(root: strawberry.Parent[answer.Answer]) -> datetime:  # noqa: N805
        """Return the range's end, which is not in it."""
        return root.question.end

    @strawberry.field
    def rollup(root: strawberry.Parent[answer.Answer]) -> list[str]:  # noqa: N805
        """Return the rollups that it was computed from."""
        return sorted(root.cost.rollups)

    @strawberry.field
    def computed_at(root: strawberry.Parent[answer.Answer]) -> datetime:  # noqa: N805
        """Return when the oldest of its numbers was computed."""
        return root.cost.computed_at


@strawberry.type
class Definition:
    """A metric that may be asked."""

    name: str
    unit: str
    kind: str
    meaning: str
    dimensions: list[str]


async def _answer(  # noqa: PLR0913, PLR0917  arguments, as the schema shows them
    info: strawberry.Info[Context],
    metrics: list[str],
    range: Annotated[str, strawberry.argument(said.RANGE)] = "7d",
    interval: Annotated[str, strawberry.argument(said.INTERVAL)] = "",
    tz: Annotated[str, strawberry.argument(said.ZONE)] = "UTC",
    group_by: list[str] = [],  # noqa: B006  nobody writes it
    filter: JSON | None = None,
    compare: Annotated[str, strawberry.argument(said.COMPARE)] = "",
    limit: Annotated[int, strawberry.argument(said.LIMIT)] = questions.DEFAULT_GROUPS,
    complete_only: Annotated[bool, strawberry.argument(said.COMPLETE_ONLY)] = False,
    cursor: Annotated[str, strawberry.argument(said.CURSOR)] = "",
    max_age: Annotated[float, strawberry.argument(said.MAX_AGE)] = 0,
) -> Any:
    """Ask metrics by dimensions; arguments are those of ``POST /v1/query``."""
    asked = {
        "metrics": metrics, "range": range, "interval": interval, "tz": tz,
        "group_by": group_by, "filter": filter, "compare": compare, "limit": limit,
        "complete_only": complete_only, "cursor": cursor, "max_age": max_age,
    }  # fmt: skip
    try:
        document = questions.QueryDocument.model_validate(asked)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = "/".join(map(str, first["loc"]))
        raise ProblemError(422, "invalid_request", f"{where}: {first['msg']}") from None
    answering, whose = info.context.answering, info.context.whose
    registry = answering.registry_of(whose)
    question = questions.read_document(document, registry, datetime.now(UTC), whose)
    inquiry = Inquiry(question, Manner(cursor=document.cursor, max_age=document.max_age))
    return page(await answering.answer(inquiry.computed, whose, max_age=document.max_age), inquiry)


def _definitions(info: strawberry.Info[Context]) -> Any:
    """List the metrics that may be asked."""
    known = info.context.answering.registry_of(info.context.whose).metrics
    return [known[name] for name in sorted(known)]


@strawberry.type
class Query:
    """What may be asked."""

    answer: Answer = strawberry.field(
        resolver=_answer,
        description="Metrics by dimensions over a range; arguments are those of POST /v1/query.",
    )
    definitions: list[Definition] = strawberry.field(
        resolver=_definitions, description="The metrics that may be asked."
    )


class _Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Leave logging to ``execute``: a refused question is no fault of ours."""


SCHEMA = _Schema(
    Query,
    extensions=[
        lambda: QueryDepthLimiter(max_depth=MOST_DEPTH),
        lambda: MaxAliasesLimiter(max_alias_count=MOST_ALIASES),
        lambda: MaxTokensLimiter(max_token_count=MOST_TOKENS),
    ],
)


async def execute(
    query: str, variables: dict[str, Any], operation: str | None, context: Context
) -> dict[str, Any]:
    """Return ``data`` and ``errors`` as GraphQL has them; an error's ``code`` is in extensions."""
    try:
        _check_spreads(parse(query, max_tokens=MOST_TOKENS))
    except GraphQLError as error:
        return {"data": None, "errors": [_error(error)]}
    try:
        result = await SCHEMA.execute(
            query, variable_values=variables, context_value=context, operation_name=operation
        )
    except (MissingQueryError, CannotGetOperationTypeError):
        refusal = GraphQLError("There is no operation to be run, or none of that operationName.")
        return {"data": None, "errors": [_error(refusal)]}
    found: dict[str, Any] = {"data": result.data}
    if result.errors:
        found["errors"] = [_error(error) for error in result.errors]
    return found


def _check_spreads(document: DocumentNode) -> None:
    """Raise ``GraphQLError`` for fragments that the schema's limits would take for ever to walk."""
    fragments = {
        one.name.value: one
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    counts: dict[str, int | None] = {}

    def count(node: ExecutableDefinitionNode) -> int:
        total = 0
        for name in _spread_in(node):
            if name not in counts and name in fragments:
                counts[name] = None
                counts[name] = count(fragments[name])
            inner = counts.get(name, 0)
            if inner is None:
                raise GraphQLError(f"The fragment {name} spreads itself.")
            total += 1 + inner
        return total

    for one in document.definitions:
        if isinstance(one, ExecutableDefinitionNode) and count(one) > MOST_SPREADS:
            raise GraphQLError(f"Fragments are spread more than {MOST_SPREADS} times.")


def _spread_in(node: ExecutableDefinitionNode) -> list[str]:
    """Return the names of the fragments that a definition spreads itself, each time it does."""
    names, waiting = [], [node.selection_set]
    while waiting:
        for one in waiting.pop().selections:
            if isinstance(one, FragmentSpreadNode):
                names.append(one.name.value)
            elif isinstance(one, FieldNode | InlineFragmentNode) and one.selection_set:
                waiting.append(one.selection_set)
    return names


def _error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    formatted: dict[str, Any] = dict(error.formatted)
    if isinstance(cause, ProblemError):
        extensions = {"code": cause.code, "status": cause.status, **cause.extra}
    elif cause is None or isinstance(cause, GraphQLError):
        extensions = {"code": "invalid_query", "status": 400}
    else:
        log.error("a resolver failed", exc_info=cause)
        formatted["message"] = "The API failed; its log says more."
        extensions = {"code": "internal_error", "status": 500}
    return formatted | {"extensions": extensions}
