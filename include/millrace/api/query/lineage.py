"""Which tables a metric is made from: views resolved, and who fills what is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

NAME = re.compile(r"\b(\w+\.\w+)\b")
MARTS = "analytics"


@dataclass(frozen=True)
class Lineage:
    """Relations of the warehouse, and the model of every metric.

    ``reads`` has what each view reads, by its name with the database; a table reads nothing.
    """

    base: str = ""
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, base: str, relations: Iterable[Sequence[str]], definitions: Mapping[str, str]
    ) -> Lineage:
        """Return it from rows of ``relations.sql``, and the model of each metric."""
        rows = list(relations)
        names = {f"{database}.{name}" for database, name, *_ in rows}
        reads = {
            f"{database}.{name}": frozenset(
                names.intersection(NAME.findall(select.replace("`", "")))
                if engine == "View"
                else ()
            )
            for database, name, engine, select, _ in rows
        }
        comments = {f"{database}.{name}": comment for database, name, _, _, comment in rows}
        return cls(base, reads, definitions, comments)

    def tables(self, relation: str) -> frozenset[str]:
        """Return the tables that hold what a relation says, with their databases."""
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [relation]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if read := self.reads.get(name):
                waiting += read
            else:
                found.add(name)
        return frozenset(found)

    def relation(self, metric: str) -> str:
        """Return the relation that holds a metric, with its database; empty if none is known."""
        model = self.models.get(metric, "")
        for database in (MARTS, self.base):
            if f"{database}.{model}" in self.reads:
                return f"{database}.{model}"
        return ""

    def is_built(self, tables: Iterable[str]) -> bool:
        """Tell whether dbt fills any of the tables, some time after ingest filled the others."""
        return any(
            table.startswith(f"{MARTS}.")
            and table in self.reads
            and f"{table}_mv" not in self.reads
            for table in tables
        )
