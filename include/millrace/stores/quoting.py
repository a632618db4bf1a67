"""Values and names as ClickHouse's SQL has them.

Statements bind their values; this is for those that can't be bound: what becomes part of a view or
of a compiled statement, and names.
"""

from __future__ import annotations

LINE_END, NO_LINE_END = "\n", "\\n"
"""Files of several statements are split at a line that is a semicolon, which no text may make."""


def literal(value: object) -> str:
    """Return ``value`` as a literal; text is quoted and escaped, a boolean is the text of JSON's.

    https://clickhouse.com/docs/sql-reference/syntax#string
    """
    if isinstance(value, bool):
        return literal("true" if value else "false")
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{text.replace(LINE_END, NO_LINE_END)}'"


def identifier(*path: str) -> str:
    """Return a name, or a path of names such as database and table, whatever characters it has."""
    escaped = (name.replace("\\", "\\\\").replace("`", "\\`") for name in path)
    return ".".join(f"`{name}`" for name in escaped)


def on_cluster(cluster: str) -> str:
    """Return the clause that makes DDL reach every replica; empty where there is no cluster."""
    return f"ON CLUSTER {cluster}" if cluster else ""
