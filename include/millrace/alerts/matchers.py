"""Label matchers of silences, maintenance windows and inhibitions: ``severity=~"info|warning"``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import promql_parser

from millrace.alerts.model import Labels


@lru_cache(maxsize=1024)
def _parsed(matchers: tuple[str, ...]) -> tuple[tuple[str, bool, re.Pattern[str]], ...]:
    text = "x{" + ",".join(matchers) + "}"
    try:
        tree = promql_parser.parse(text)
    except ValueError as error:
        raise ValueError(
            f'matchers: {", ".join(matchers)} cannot be read ({error}); write label="value", '
            'label!="value", label=~"pattern" or label!~"pattern"'
        ) from error
    if not isinstance(tree, promql_parser.VectorSelector):
        raise ValueError(f"matchers: {', '.join(matchers)} is more than label matchers")
    result = []
    for matcher in tree.matchers.matchers:
        operator = str(matcher.op).removeprefix("MatchOp.")
        pattern = matcher.value if operator in ("Re", "NotRe") else re.escape(matcher.value)
        result.append((matcher.name, operator in ("Equal", "Re"), re.compile(pattern)))
    return tuple(result)


def check(matchers: Sequence[str]) -> None:
    """Raise ``ValueError`` with the reason when matchers cannot be read or there are none."""
    if not matchers:
        raise ValueError('matchers: none given; write for example alertname="traffic_drop"')
    _parsed(tuple(matchers))


def match(matchers: Sequence[str], labels: Labels) -> bool:
    """Return whether a label set fits every matcher; a label that is absent counts as empty."""
    return all(
        bool(pattern.fullmatch(labels.get(name, ""))) is wanted
        for name, wanted, pattern in _parsed(tuple(matchers))
    )
