"""Rollups whose merges would add up rows that differ: a dimension must be in the sorting key.

SummingMergeTree and AggregatingMergeTree make one row of those that are equal in the sorting key; a
column beside it keeps the value of any of them.
Source: https://clickhouse.com/docs/engines/table-engines/mergetree-family/summingmergetree

What a statement's columns are made of is asked of ClickHouse, which knows every way to group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client

from millrace.stores import sql
from millrace.transform.manifest import Model

_INDENT = 2
_COLUMN = re.compile(r"COLUMN id: .*?column_name: (?P<name>.*), result_type: .*?(?P<source>\d+)$")
_TYPE = re.compile(r"(?:result_type|constant_value_type): (.*?)(?:, source_id: \d+)?$")
_IDENTITY = re.compile(r"\bid: \d+(, alias: [^,]*)?(, )?")


def outside(client: Client, database: str, model: Model) -> list[str]:
    """Return the columns of a model that are no sums, and that its table does not sort by.

    A column that is made of such as it sorts by, or of constants, is the same in all rows that are
    merged. The model's table is in ``database``.
    """
    if not re.match(r"(Replicated)?(Summing|Aggregating)MergeTree", model.engine):
        return []
    asked = {"database": database, "table": model.name}
    ((key,),) = client.query(
        sql.render("clickhouse/transform/sorting_key.sql"), parameters=asked
    ).result_rows
    kept = {name.strip("`") for name in key.split(", ")}
    said = client.query(f"EXPLAIN QUERY TREE {model.compiled}").result_rows
    tree = _Tree([line for (line,) in said])
    columns = tree.columns()
    known = {found.signature for name, made_of in columns for found in made_of if name in kept}
    return list(
        dict.fromkeys(
            name
            for name, made_of in columns
            if name not in kept and any(tree.is_dimension(found, known) for found in made_of)
        )
    )


@dataclass
class _Node:
    text: str
    children: list[_Node] = field(default_factory=list)

    @property
    def signature(self) -> str:
        """What it is, whatever number and alias it has in the tree."""
        inner = ",".join(child.signature for child in self.children)
        return f"{_IDENTITY.sub('', self.text)}({inner})"

    def part(self, name: str) -> list[_Node]:
        (part,) = (child for child in self.children if child.text == name)
        return part.children

    def walk(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.walk()


class _Tree:
    """A query as ClickHouse's analyzer prints it, a node a line, indented by depth."""

    def __init__(self, printed: list[str]) -> None:
        root = _Node("")
        path = [root]
        for line in filter(str.strip, printed):
            depth = (len(line) - len(line.lstrip())) // _INDENT
            node = _Node(line.strip())
            path[depth].children.append(node)
            path[depth + 1 :] = [node]
        self._root = root.children[0]
        self._by_id = {
            found[1]: node
            for node in self._root.walk()
            if (found := re.match(r"(?:QUERY|UNION) id: (\d+)", node.text))
        }

    def columns(self) -> list[tuple[str, list[_Node]]]:
        """Return what the query returns: the name of each column, and what it is made of."""
        return self._columns(self._root)

    def is_dimension(self, node: _Node, known: set[str]) -> bool:
        """Tell whether rows may differ in it that are equal in what is ``known``."""
        made_of = list(self._leaves(node, known))
        return bool(made_of) and "aggregate" not in made_of

    def _columns(self, query: _Node) -> list[tuple[str, list[_Node]]]:
        if query.text.startswith("UNION"):
            (queries,) = query.part("QUERIES")
            members = [self._columns(node) for node in queries.children]
            return [
                (same[0][0], [node for _, made_of in same for node in made_of])
                for same in zip(*members, strict=True)
            ]
        (made,) = query.part("PROJECTION")
        return [
            (_name(named, node), [node])
            for named, node in zip(query.part("PROJECTION COLUMNS"), made.children, strict=True)
        ]

    def _leaves(self, node: _Node, known: set[str]) -> Iterator[str]:
        if node.signature in known or node.text.startswith("CONSTANT"):
            return
        if "function_type: aggregate" in node.text:
            yield "aggregate"
            return
        if column := _COLUMN.match(node.text):
            below = self._by_id.get(column["source"])
            if below is None:
                yield "column"
                return
            for name, made_of in self._columns(below):
                if name == column["name"]:
                    for one in made_of:
                        yield from self._leaves(one, known)
            return
        for child in node.children:
            yield from self._leaves(child, known)


def _name(named: _Node, made: _Node) -> str:
    """Return a column's name: before its type, which what it is made of has too."""
    kind = _TYPE.search(made.text)
    return named.text.removesuffix(f" {kind[1]}" if kind else "")
