"""Rollups whose merges would add up rows that differ: a dimension must be in the sorting key."""

from __future__ import annotations

import re

from millrace.transform.manifest import Model

GROUP_BY = re.compile(
    r"\bgroup\s+by\s+([^()]*?)\s*(?:\bhaving\b|\border\s+by\b|\bsettings\b|;|$)", re.I
)
"""The grouping of the outermost query, which ends the statement."""

_QUOTED = re.compile(
    r"""("(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*')|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/""",
    re.DOTALL,
)
"""Texts and names in quotes, in which no word has a meaning; or a comment."""


def outside(model: Model) -> list[str]:
    """Return what a model groups by, and its table does not sort by, where merges combine rows.

    SummingMergeTree and AggregatingMergeTree make one row of those that are equal in the sorting
    key; a column beside it keeps the value of any of them.
    Source: https://clickhouse.com/docs/engines/table-engines/mergetree-family/summingmergetree
    """
    if not re.match(r"(Replicated)?(Summing|Aggregating)MergeTree", model.engine):
        return []
    quoted: list[str] = []

    def set_aside(found: re.Match[str]) -> str:
        if not found[1]:
            return " "
        quoted.append(found[1])
        return f"\0{len(quoted) - 1}\0"

    groupings = GROUP_BY.findall(_QUOTED.sub(set_aside, model.compiled))
    if not groupings:
        return []
    names = [name.strip().rpartition(".")[2] for name in groupings[-1].split(",")]
    grouped = [
        re.sub("\0(\\d+)\0", lambda aside: quoted[int(aside[1])], name).strip('`"')
        for name in names
    ]
    return [name for name in grouped if name not in model.sorting_key]
