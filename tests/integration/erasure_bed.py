"""Where somebody still is: every table of both stores, and every exported file."""

from __future__ import annotations

from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres

MAIL = "erase.me@example.org"
"""What the messages of whoever is to be erased hold."""


def holders(settings: Settings) -> list[str]:
    """Return every table of both stores, and every exported file, in which the mail is."""
    found = []
    with clickhouse.connect(settings) as client:
        tables = client.query(
            "SELECT database, name FROM system.tables WHERE engine LIKE '%MergeTree' "
            "AND database NOT IN ('system', 'backup_staging')"
        ).result_rows
        for database, name in tables:
            query = f"SELECT count() FROM `{database}`.`{name}` AS t WHERE toString(tuple(t.*)) "
            if client.command(f"{query} LIKE '%{MAIL}%'"):
                found.append(f"{database}.{name}")
    with postgres.connect(settings) as connection:
        for row in connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall():
            query = f"SELECT 1 FROM {row['tablename']} AS t WHERE t::text LIKE '%{MAIL}%' LIMIT 1"
            if connection.execute(query).fetchone():
                found.append(row["tablename"])
    return [*found, *files_with(settings, MAIL)]


def files_with(settings: Settings, text: str) -> list[str]:
    """Return the exported files in which a text is, as ClickHouse reads them."""
    bucket = objects.connect(settings)
    names = [item.object_name for item in bucket.list_objects(settings.s3_bucket, recursive=True)]
    formats = {"parquet": "Parquet", "csv": "CSVWithNames", "jsonl": "JSONEachRow"}
    found = []
    with clickhouse.connect(settings) as client:
        collection = clickhouse.object_collection(settings)
        for name in names:
            if (suffix := name.rpartition(".")[2]) in formats:
                rows = client.query(
                    f"SELECT * FROM s3({collection}, filename = '{name}', "
                    f"format = '{formats[suffix]}')"
                ).result_rows
                found += [name] if text in str(rows) else []
    return found
