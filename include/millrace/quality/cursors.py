"""Up to when audits and metrics have followed what changed in the past.

Each window and hour keeps what it covers when it is judged. The cursor of all of them moves only
when nothing that was found is left, so that a run that is cut short goes on where it stopped. It
follows the ledger's watermark (``millrace.contract.ledger``), and is never beyond it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client

from millrace.stores import sql


def read(client: Client, judged: str, table: str, condition: str = "") -> datetime | None:
    """Return the cursor of ``judged``, or None if nothing was judged yet.

    ``table`` and ``condition`` are the rows that say what each of its windows covers.
    """
    query = sql.render("clickhouse/quality/cursor.sql", table=table, condition=condition)
    ((moment,),) = client.query(query, parameters={"judged": judged}).result_rows
    return None if moment is None or moment.year == 1970 else moment.replace(tzinfo=UTC)


def record(client: Client, judged: str, until: datetime) -> None:
    """Note that all that rows ingested before ``until`` changed is judged."""
    client.insert("quality_watermarks", [[judged, until]], column_names=["judged", "covers_until"])
