"""One answer for many filters: a piece's values by the dimensions that questions filter by.

Panels of a dashboard ask the same hours with ever another filter, and what runs is computed again
after each load. Where values add up, the rows of all of these filters come from one statement, and
each question's are added up here, just as ClickHouse would.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from millrace.api.query.filters import Combination, Condition, Filter
from millrace.api.query.questions import Question

MOST_ROWS = 10_000
"""Of more rows, each filter is asked by itself."""
MOST_READ_ROWS = 60_000
"""Rows that a process keeps ready to be added up."""
SHARED_SECONDS = 60.0
"""For how long a question counts as one that others share rows with."""
MOST_SHAPES = 10_000
TOO_WIDE_SECONDS = 600.0
"""How long it is remembered that a shape has too many rows."""

Key = tuple[str, ...]
_NOBODY = ("", float("-inf"))


def packed(rows: Sequence[list[Any]]) -> bytes:
    """Return rows of a wide statement as they are kept; ``null``: nothing is to be made of them.

    Sums of what is not a whole number depend on their order, and no filter lets pass what is no
    text, nor the opposite of that filter.
    """
    is_exact = all(
        type(row[-1]) is int and all(type(text) is str for text in row[1:-1]) for row in rows
    )
    return orjson.dumps(rows if is_exact and len(rows) <= MOST_ROWS else None)


class Table:
    """Rows by the values of their dimensions."""

    def __init__(self, dimensions: Sequence[str], rows: Sequence[list[Any]]) -> None:
        self._dimensions = tuple(dimensions)
        self._rows: dict[Key, list[tuple[int, int]]] = {}
        self.size = len(rows)
        for bucket, *key, value in rows:
            self._rows.setdefault(tuple(key), []).append((bucket, value))

    def rows(self, question: Question) -> list[list[Any]]:
        """Return what a question's own statement would give, in the same order."""
        places = [self._dimensions.index(name) for name in question.group_by]
        values: dict[tuple[int, Key], int] = {}
        totals: dict[Key, int] = {}
        for key in self._matching(question.filter):
            group = tuple(key[place] for place in places)
            for bucket, value in self._rows[key]:
                values[bucket, group] = values.get((bucket, group), 0) + value
                totals[group] = totals.get(group, 0) + value
        if places and len(totals) > question.limit:
            largest = sorted(totals, key=lambda group: (-totals[group], group))[: question.limit]
            shown = set(largest)
            values = {at: value for at, value in values.items() if at[1] in shown}
        return [[bucket, *group, values[bucket, group]] for bucket, group in sorted(values)]

    def _matching(self, wanted: Filter | None) -> Iterator[Key]:
        if wanted is None:
            return iter(self._rows)
        lets_pass = _test(wanted, {name: at for at, name in enumerate(self._dimensions)})
        return filter(lets_pass, self._rows)


class Tables:
    """The tables of a process that are asked, and which shapes are too wide to be."""

    def __init__(self) -> None:
        self._read: OrderedDict[str, tuple[bytes, Table]] = OrderedDict()
        self._size = 0
        self._too_wide: dict[str, float] = {}
        self._askers: dict[str, tuple[tuple[str, float], tuple[str, float]]] = {}

    def table(self, key: str, dimensions: Sequence[str], content: bytes) -> Table | None:
        """Return the table of what is kept under a key; ``None``: nothing is to be made of it."""
        found = self._read.get(key)
        if found is not None and found[0] is content:
            self._read.move_to_end(key)
            return found[1]
        rows = orjson.loads(content)
        if rows is None:
            return None
        made = Table(dimensions, rows)
        self._size += made.size - (found[1].size if found is not None else 0)
        self._read[key] = content, made
        self._read.move_to_end(key)
        while self._size > MOST_READ_ROWS and len(self._read) > 1:
            self._size -= self._read.popitem(last=False)[1][1].size
        return made

    def is_shared(self, shape: str, key: str) -> bool:
        """Note who asks for a shape; tell whether others did lately.

        What one question alone asks for again and again costs less by itself.
        """
        now = time.monotonic()
        if len(self._askers) > MOST_SHAPES:
            self._askers.clear()
        last, other = self._askers.get(shape, (_NOBODY, _NOBODY))
        if last[0] != key:
            other = last
        self._askers[shape] = (key, now), other
        return now - other[1] <= SHARED_SECONDS

    def is_too_wide(self, shape: str) -> bool:
        """Tell whether questions of a shape are to be asked by themselves."""
        until = self._too_wide.get(shape)
        if until is not None and until < time.monotonic():
            del self._too_wide[shape]
            return False
        return until is not None

    def note_too_wide(self, shape: str) -> None:
        """Remember that the rows of a shape are too many, or can't be added up."""
        self._too_wide[shape] = time.monotonic() + TOO_WIDE_SECONDS


def _test(wanted: Filter, places: Mapping[str, int]) -> Callable[[Key], bool]:
    """Return what tells whether a filter lets values pass, as its SQL (``filters``) does."""
    if isinstance(wanted, Combination):
        return _all_or_any(wanted, places)
    return _of_condition(wanted, places[wanted.dimension])


def _all_or_any(wanted: Combination, places: Mapping[str, int]) -> Callable[[Key], bool]:
    parts = [_test(part, places) for part in wanted.parts]
    if wanted.kind == "and":
        return lambda key: all(part(key) for part in parts)
    return lambda key: any(part(key) for part in parts)


def _of_condition(wanted: Condition, place: int) -> Callable[[Key], bool]:
    values = wanted.values
    is_negated = wanted.operator.startswith("not_")
    match wanted.operator.removeprefix("not_"):
        case "in":
            known = frozenset(values)
            return lambda key: (key[place] in known) != is_negated
        case "begins":
            return lambda key: key[place].startswith(values) != is_negated
        case _:
            return lambda key: any(one in key[place] for one in values) != is_negated
