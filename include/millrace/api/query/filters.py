"""Which rows count: conditions on dimensions, with and, or, not, in one canonical form.

Filters that mean the same by the rules of logic that are applied here are equal objects: nested
and/or are flattened, their parts sorted and told once, ``not`` is moved into the conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from millrace.api.query.ranges import invalid

Operator = Literal["in", "not_in", "contains", "not_contains", "begins", "not_begins"]
OPERATORS = {":": "in", "~:": "contains", "^:": "begins"}
"""How ``filter=`` writes them; ``!`` before one negates it."""
MOST_DEPTH, MOST_VALUES = 8, 1000
HOW = (
    "conditions joined by commas: country:DE|US, page!:/cart, page^:/product/ (begins), "
    "page~:sale (contains); a backslash takes the meaning from the character after it."
)

Value = Annotated[str, StringConstraints(max_length=2000)]


@dataclass(frozen=True, order=True)
class Condition:
    """What one dimension must be: any of the values, or none of them."""

    dimension: str
    operator: Operator
    values: tuple[str, ...]

    def __invert__(self) -> Condition:
        negated: Any = (
            self.operator[4:] if self.operator.startswith("not_") else f"not_{self.operator}"
        )
        return Condition(self.dimension, negated, self.values)


@dataclass(frozen=True)
class Combination:
    """All of some filters, or any of them."""

    kind: Literal["and", "or"]
    parts: tuple[Filter, ...]


Filter = Condition | Combination


class ConditionDocument(BaseModel):
    """A dimension and what it must be."""

    model_config = ConfigDict(extra="forbid")
    dimension: str
    operator: Literal["eq", "ne"] | Operator = "eq"
    values: Annotated[list[Value], Field(max_length=MOST_VALUES)] = []
    value: Value | None = None


class AndDocument(BaseModel):
    """All of these."""

    model_config = ConfigDict(extra="forbid")
    parts: Annotated[list[FilterDocument], Field(alias="and", min_length=1, max_length=100)]


class OrDocument(BaseModel):
    """Any of these."""

    model_config = ConfigDict(extra="forbid")
    parts: Annotated[list[FilterDocument], Field(alias="or", min_length=1, max_length=100)]


class NotDocument(BaseModel):
    """Not this."""

    model_config = ConfigDict(extra="forbid")
    part: Annotated[FilterDocument, Field(alias="not")]


def _kind(value: Any) -> str:
    """Tell which document is meant, so that an error speaks of that one alone."""
    if isinstance(value, AndDocument | OrDocument | NotDocument):
        return type(value).__name__.removesuffix("Document").lower()
    named = value if isinstance(value, dict) else {}
    return next((kind for kind in ("and", "or", "not") if kind in named), "condition")


FilterDocument = Annotated[
    Annotated[ConditionDocument, Tag("condition")]
    | Annotated[AndDocument, Tag("and")]
    | Annotated[OrDocument, Tag("or")]
    | Annotated[NotDocument, Tag("not")],
    Discriminator(_kind),
]


def read(text: str) -> Filter | None:
    """Return what ``filter=`` says. Raises ``ProblemError`` (400) that says how it is written."""
    parts: list[Filter] = [_condition(term) for term in _split(text, ",")] if text else []
    return combined("and", parts) if parts else None


def of_document(document: FilterDocument, depth: int = 0) -> Filter:
    """Return the canonical filter of a document. Raises ``ProblemError`` (400)."""
    if depth > MOST_DEPTH:
        raise invalid("filter", f"it is nested more than {MOST_DEPTH} deep.")
    match document:
        case ConditionDocument():
            return _of_condition(document)
        case NotDocument():
            return negated(of_document(document.part, depth + 1))
        case AndDocument():
            return combined("and", [of_document(part, depth + 1) for part in document.parts])
        case OrDocument():
            return combined("or", [of_document(part, depth + 1) for part in document.parts])


def combined(kind: Literal["and", "or"], parts: list[Filter]) -> Filter:
    """Return all or any of some filters, in canonical form."""
    flat: set[Filter] = set()
    for part in parts:
        if isinstance(part, Combination) and part.kind == kind:
            flat.update(part.parts)
        else:
            flat.add(part)
    if len(flat) == 1:
        return flat.pop()
    return Combination(kind, tuple(sorted(flat, key=text)))


def negated(one: Filter) -> Filter:
    """Return what lets pass what a filter does not."""
    if isinstance(one, Condition):
        return ~one
    return combined("or" if one.kind == "and" else "and", [negated(part) for part in one.parts])


def dimensions(one: Filter | None) -> Iterator[str]:
    """Yield the dimensions that a filter speaks of, each as often as it does."""
    if isinstance(one, Condition):
        yield one.dimension
    elif one is not None:
        for part in one.parts:
            yield from dimensions(part)


def text(one: Filter | None) -> str:
    """Return a filter's canonical text: equal for equal filters, and for no others."""
    if one is None:
        return ""
    if isinstance(one, Condition):
        return f"{one.dimension!r} {one.operator} {list(one.values)!r}"
    return f"{one.kind}({', '.join(map(text, one.parts))})"


def predicate(one: Filter, expressions: Mapping[str, str], values: dict[str, Any]) -> str:
    """Return a filter as SQL over a rollup's expressions of dimensions.

    The values that it compares with are added to ``values``, to be bound by the server.
    """
    if isinstance(one, Combination):
        parts = [predicate(part, expressions, values) for part in one.parts]
        return f"({f' {one.kind.upper()} '.join(parts)})"
    name = f"filter_{len(values)}"
    values[name] = list(one.values)
    of, bound = f"toString({expressions[one.dimension]})", f"{{{name}:Array(String)}}"
    match one.operator.removeprefix("not_"):
        case "in":
            sql = f"{of} IN {bound}"
        case "begins":
            sql = f"arrayExists(one -> startsWith({of}, one), {bound})"
        case _:
            sql = f"multiSearchAny({of}, {bound})"
    return f"NOT ({sql})" if one.operator.startswith("not_") else sql


def _of_condition(document: ConditionDocument) -> Condition:
    values = [*document.values, *([] if document.value is None else [document.value])]
    if not values:
        raise invalid("filter", f"{document.dimension}: give value or values.")
    operator: Any = {"eq": "in", "ne": "not_in"}.get(document.operator, document.operator)
    return _checked(document.dimension, operator, values)


def _checked(dimension: str, operator: Operator, values: list[str]) -> Condition:
    plain = operator.removeprefix("not_")
    if not dimension or len(values) > MOST_VALUES or ("" in values and plain != "in"):
        raise invalid("filter", HOW)
    if plain == "contains" and len(values) > 255:
        raise invalid("filter", "at most 255 texts can be looked for at once.")
    return Condition(dimension, operator, tuple(sorted(set(values))))


def _condition(term: str) -> Condition:
    at = next((place for place, is_plain in _marks(term, ":") if is_plain), 0)
    name, rest = term[:at], term[at + 1 :]
    mark = f"{name[-1]}:" if name.endswith(("~", "^")) else ":"
    name = name.removesuffix(mark[:-1])
    operator: Any = f"not_{OPERATORS[mark]}" if name.endswith("!") else OPERATORS[mark]
    values = [_plain(value) for value in _split(rest, "|")]
    return _checked(_plain(name.removesuffix("!")), operator, values)


def _marks(text: str, mark: str) -> Iterator[tuple[int, bool]]:
    is_escaped = False
    for place, character in enumerate(text):
        if character == mark:
            yield place, not is_escaped
        is_escaped = character == "\\" and not is_escaped


def _split(text: str, mark: str) -> list[str]:
    places = [place for place, is_plain in _marks(text, mark) if is_plain]
    starts, ends = [0, *(place + 1 for place in places)], [*places, len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _plain(text: str) -> str:
    found, is_escaped = [], False
    for character in text:
        if character == "\\" and not is_escaped:
            is_escaped = True
        else:
            found.append(character)
            is_escaped = False
    return "".join(found)
