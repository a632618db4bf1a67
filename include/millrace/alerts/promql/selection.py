"""The samples that selectors ask for: one read for the selectors of all lanes."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.alerts.promql.lanes import WIDTH
from millrace.alerts.promql.nodes import Samples, array, template
from millrace.alerts.promql.shape import Query
from millrace.stores.quoting import literal


def read(samples: Samples, queries: Sequence[Query], since: str, until: str) -> str:
    """Return the SELECT of ``labels``, ``ts`` and ``value`` that each lane's query asks for.

    A sample is there once for every lane that asks for it. The queries name one metric each, or
    none does; ``since`` and ``until`` bound the samples' own times, in ms.
    """
    names = [q.name for q in queries if q.name is not None]
    unique = list(dict.fromkeys(names)) if names else None
    if len(queries) == 1:
        return samples.select(unique, _condition(queries[0]), since, until)
    return template(
        "samples_on_lanes",
        samples=samples.select(unique, "1", since, until),
        lanes=_lanes_by_name(names) if names else f"range({len(queries)})",
        condition=_condition_by_lane(queries),
        width=WIDTH,
    )


def _lanes_by_name(names: Sequence[str]) -> str:
    """Return the SQL of the lanes that ask for a sample's metric."""
    lanes: dict[str, list[int]] = {}
    for lane, name in enumerate(names):
        lanes.setdefault(name, []).append(lane)
    if len(lanes) == 1:
        return f"range({len(names)})"
    return f"{list(lanes.values())}[indexOf({array(list(lanes))}, labels['__name__'])]"


def _condition_by_lane(queries: Sequence[Query]) -> str:
    lanes: dict[str, list[int]] = {}
    for lane, query in enumerate(queries):
        lanes.setdefault(_condition(query), []).append(lane)
    if len(lanes) == 1:
        return next(iter(lanes))
    return " OR ".join(f"(lane IN {asking} AND {condition})" for condition, asking in lanes.items())


def _condition(query: Query) -> str:
    """Return a query's matchers as SQL."""
    parts = []
    for label, operator, value in query.matchers:
        subject = f"labels[{literal(label)}]"
        # Prometheus anchors its patterns at both ends.
        pattern = literal(f"^(?:{value})$")
        forms = {
            "=": f"{subject} = {literal(value)}",
            "!=": f"{subject} != {literal(value)}",
            "=~": f"match({subject}, {pattern})",
            "!~": f"NOT match({subject}, {pattern})",
        }
        parts.append(forms[operator])
    return " AND ".join(parts) or "1"
