"""Taking over a folder that the former embedded engine wrote, whose tables are not encrypted.

The former engine kept its configuration as ``engine.xml``. While that file is there, every part is
moved from the plain disk to the encrypted one. The file goes last, so that a takeover that was cut
goes on at the next start.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from clickhouse_connect.driver.client import Client

from millrace import waiting
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

MARK = "engine.xml"
PARTS_GO_SECONDS = 600


def is_former(folder: Path) -> bool:
    """Tell whether a folder holds tables of the former engine that were not all moved yet."""
    return (folder / MARK).exists()


def prepare(folder: Path) -> None:
    """Take away, before the start, what the server can't read: credentials that lie in the open.

    The named collections are made again from the settings by those who use them.
    """
    shutil.rmtree(folder / "data" / "named_collections", ignore_errors=True)
    (folder / "users.toml").unlink(missing_ok=True)


def run(settings: Settings, folder: Path) -> None:
    """Move every table to the encrypted disk; raises ``TimeoutError`` if parts stay behind."""
    with clickhouse.connect(settings, database="default") as client:
        for database, table, partition in _rows(client, "partitions"):
            move = f"MOVE PARTITION ID '{partition}' TO VOLUME 'main'"
            client.command(f"ALTER TABLE `{database}`.`{table}` {move}")
        for database, view in _rows(client, "views"):
            # Made before accounts: it answers whoever may read it, as those made now do.
            security = "MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER"
            client.command(f"ALTER TABLE `{database}`.`{view}` {security}")
        waiting.until(
            lambda: not _rows(client, "left_over"),
            "the former engine's parts to be removed",
            seconds=PARTS_GO_SECONDS,
            every=0.5,
        )
    (folder / MARK).unlink()


def _rows(client: Client, name: str) -> list[tuple[str, ...]]:
    rows = client.query(sql.render(f"clickhouse/stack/former_{name}.sql")).result_rows
    return [tuple(map(str, row)) for row in rows]
