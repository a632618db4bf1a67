"""Rollups whose merges would add up rows that differ: a dimension must be in the sorting key."""

from __future__ import annotations

import re

from millrace.transform.manifest import Model

GROUP_BY = re.compile(
    r"\bgroup\s+by\s+([^()]*?)\s*(?:\bhaving\b|\border\s+by\b|\bsettings\b|;|$)", re.I
)
"""The grouping of the outermost query, which ends the statement."""

_NAME_OR_ELSE = re.compile(
    r"""("(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)|'(?:[^'\\]|\\.)*'|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/""",
    re.DOTALL,
)
"""Quoted names, which stay; texts and comments, in which nothing is meant."""


def outside(model: Model) -> list[str]:
    """Return what a model groups by, and its table does not sort by, where merges combine rows.

    SummingMergeTree and AggregatingMergeTree make one row of those that are equal in the sorting
    key; a column beside it keeps the value of any of them.
    Source: https://clickhouse.com/docs/engines/table-engines/mergetree-family/summingmergetree
    """
    if not re.match(r"(Replicated)?(Summing|Aggregating)MergeTree", model.engine):
        return []
    text = _NAME_OR_ELSE.sub(lambda found: found[1] or " ", model.compiled)
    groupings = GROUP_BY.findall(text)
    if not groupings:
        return []
    grouped = [name.strip().rpartition(".")[2].strip('`"') for name in groupings[-1].split(",")]
    return [name for name in grouped if name not in model.sorting_key]
