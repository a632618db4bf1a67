"""Verdicts on windows, and what their readers see of them.

Exports ask ``published_windows`` in PostgreSQL. Whoever reads ClickHouse reads the database
``published``: a view of each dataset with only the rows whose window passed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from psycopg.rows import DictRow

from millrace.quality.model import Audit
from millrace.quality.suites import Suite
from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, quoting, sql
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

DATABASE = "published"


def publish(
    connection: psycopg.Connection[DictRow],
    suite: Suite,
    audit: Audit,
    unread: Collection[str] = (),
) -> None:
    """Write the verdict on a window; it is withheld with what it is made from, too.

    So it is while a dataset that it is made from is ``unread``: there is no suite to judge that.
    """
    connection.execute(
        sql.render("postgres/quality/publish_window.sql"),
        {
            "dataset": suite.dataset,
            "start": audit.window.start,
            "end": audit.window.end,
            "reason": " ".join(found.statement for found in audit.failures),
            "made_from": list(suite.made_from),
            "unread": list(unread),
        },
    )


def release(connection: psycopg.Connection[DictRow], suites: Iterable[Suite]) -> None:
    """Publish windows that were withheld only because of others that are published now."""
    statement = sql.render("postgres/quality/release_derived.sql")
    by_name = {suite.dataset: suite for suite in suites}
    for suite in by_name.values():
        if suite.publishes and suite.made_from and by_name.keys() >= set(suite.made_from):
            connection.execute(
                statement, {"dataset": suite.dataset, "made_from": list(suite.made_from)}
            )


def show(settings: Settings, client: Client, suites: Iterable[Suite]) -> None:
    """Bring the database ``published`` up to date with the verdicts and with the tables."""
    variables = {"on_cluster": quoting.on_cluster(settings.clickhouse_cluster)}
    dictionaries.ensure(settings)  # and the named collection that reads PostgreSQL
    client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE} {variables['on_cluster']}")
    dictionaries.ensure_dictionary(
        settings,
        client,
        "published_ranges",
        "clickhouse/quality/published_ranges.sql",
        ledger=urlsplit(settings.postgres_url).path.lstrip("/"),
        **variables,
    )
    client.command(f"SYSTEM RELOAD DICTIONARY {variables['on_cluster']} published_ranges")
    for suite in suites:
        if suite.publishes:
            view = sql.render(
                "clickhouse/quality/published_view.sql",
                dataset=suite.dataset,
                relation=_qualified(settings, suite),
                time_column=suite.time_column,
                database=clickhouse.database(settings),
                **variables,
            )
            try:
                client.command(view)
            except OperationalError:
                raise  # the server is away
            except DatabaseError as error:  # its audits fail and say so
                log.warning("%s.%s stays: %s", DATABASE, suite.dataset, first_line(error))


def _qualified(settings: Settings, suite: Suite) -> str:
    prefix = "" if "." in suite.table else f"{clickhouse.database(settings)}."
    return prefix + suite.relation
