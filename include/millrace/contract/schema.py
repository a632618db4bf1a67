"""Tables of events follow the contract: a field that is new gets its column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clickhouse_connect.driver.client import Client

from millrace.contract.fields import COLUMNS, Field
from millrace.stores import quoting, sql
from millrace.stores.quoting import identifier, literal


def add_missing_columns(
    client: Client, tables: Iterable[str], cluster: str = "", columns: Sequence[Field] = COLUMNS
) -> list[str]:
    """Add the columns of the contract that tables of events lack; return them as table.column.

    Tables that are not there are passed over: the first plan of their source makes them.
    """
    added = []
    for table in sorted(set(tables)):
        known = {
            str(name)
            for (name,) in client.query(
                sql.render("clickhouse/contract/columns.sql"), parameters={"table": table}
            ).result_rows
        }
        before = ""
        for column in columns:
            if known and column.column not in known:
                client.command(
                    sql.render(
                        "clickhouse/contract/add_column.sql",
                        table=identifier(table),
                        on_cluster=quoting.on_cluster(cluster),
                        column=identifier(column.column),
                        type=column.type,
                        meaning=literal(column.meaning),
                        before=identifier(before) if before else "",
                    )
                )
                added.append(f"{table}.{column.column}")
            before = column.column
    return added
