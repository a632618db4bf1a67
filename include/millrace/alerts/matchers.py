"""Label matchers of silences, maintenance windows and inhibitions: ``severity=~"info|warning"``.

Their patterns are RE2's, as those of rules and of ClickHouse are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import promql_parser
import pyarrow as pa
import pyarrow.compute as pc

from millrace.alerts.model import Labels


@lru_cache(maxsize=1024)
def _parsed(matchers: tuple[str, ...]) -> tuple[tuple[str, bool, Callable[[str], bool]], ...]:
    text = "x{" + ",".join(matchers) + "}"
    try:
        tree = promql_parser.parse(text)
    except ValueError as error:
        raise ValueError(
            f'matchers: {", ".join(matchers)} cannot be read ({error}); write label="value", '
            'label!="value", label=~"pattern" or label!~"pattern"'
        ) from error
    # One that says nothing, or with ``or``, would be read as none at all, which fits every alert.
    if (
        not isinstance(tree, promql_parser.VectorSelector)
        or tree.matchers.or_matchers
        or len(tree.matchers.matchers) < len(matchers)
    ):
        raise ValueError(
            f"matchers: {', '.join(matchers)!r} is not a label matcher each; an alert has to fit "
            'them all, and label=~"one|other" stands for either'
        )
    result = []
    for matcher in tree.matchers.matchers:
        operator = str(matcher.op).removeprefix("MatchOp.")
        fits = matcher.value.__eq__
        if operator in ("Re", "NotRe"):
            fits = partial(_matches, f"^(?s:{matcher.value})$")
            try:
                fits("")
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"matchers: RE2 does not know the pattern {matcher.value!r}: {error}"
                ) from error
        result.append((matcher.name, operator in ("Equal", "Re"), fits))
    return tuple(result)


@lru_cache(maxsize=4096)
def _matches(pattern: str, value: str) -> bool:
    return bool(pc.match_substring_regex(pa.scalar(value, pa.string()), pattern).as_py())


def names(matchers: Sequence[str]) -> list[str]:
    """Return the labels that matchers ask for."""
    return [name for name, _, _ in _parsed(tuple(matchers))]


def check(matchers: Sequence[str]) -> None:
    """Raise ``ValueError`` with the reason when matchers cannot be read or there are none."""
    if not matchers:
        raise ValueError('matchers: none given; write for example alertname="traffic_drop"')
    _parsed(tuple(matchers))


def match(matchers: Sequence[str], labels: Labels) -> bool:
    """Return whether a label set fits every matcher; a label that is absent counts as empty."""
    return all(
        fits(labels.get(name, "")) is wanted for name, wanted, fits in _parsed(tuple(matchers))
    )
