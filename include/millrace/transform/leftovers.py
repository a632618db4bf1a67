"""What must not stay: views of a deployment that died, and rollups whose view threw.

Both touch ingest or what people read, so ``up``, ``status``, deployments and ``build_models`` look
for them. ``withdrawn_views`` is where ingest keeps a view that it took out of its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client

from millrace.contract import locks, publication
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.transform import project
from millrace.transform.ddl import Ddl


@dataclass(frozen=True)
class Withdrawn:
    """A view that threw and was taken out of the path of ingest."""

    view: str
    rollups: tuple[str, ...]
    error: str
    withdrawn_at: datetime
    tried_release: str
    may_pass: bool

    @property
    def models(self) -> list[str]:
        """The rollups that lack what came since, those that it fed included."""
        return [name.split(".", 1)[1] for name in self.rollups if name.startswith("analytics.")]

    def __str__(self) -> str:
        rollups = ", ".join(self.rollups)
        what_to_do = (
            "every run of build_models tries to bring it back; ./millrace dbt deploy does so now"
            if self.may_pass
            else "mend the model, then run ./millrace dbt deploy"
        )
        return (
            f"{self.view} threw at {self.withdrawn_at:%Y-%m-%d %H:%M:%S} and was taken out of the "
            f"path of ingest; {rollups} lack what came since: {self.error}\n"
            f"  {what_to_do} (docs/runbooks/view_withdrawn.md)"
        )


@contextmanager
def lock(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Be the only deployment; the lock goes with the connection of a process that dies."""
    with locks.alone(connection, locks.DEPLOYMENT):
        yield


def find(settings: Settings, *, of_models: bool = False) -> list[str]:
    """Return, in words, what is left over; views of a deployment under way are not.

    With ``of_models``, only what a deployment sees to: no withdrawn views that somebody made by
    hand.
    """
    with postgres.connect(settings) as connection:
        found = [str(one) for one in withdrawn(connection) if one.models or not of_models]
        is_deploying = not locks.is_free(connection, locks.DEPLOYMENT)
    if not is_deploying:
        found += [
            f"{view} is left of a deployment that died and still hangs on ingest; "
            "./millrace dbt deploy removes it"
            for view in _shadow_views(settings)
        ]
    return found


def clear(settings: Settings, connection: psycopg.Connection[Any]) -> list[str]:
    """Drop what a deployment left beside production; return the views that hung on ingest.

    The caller is the only deployment. Ingest notices that its views have changed.
    """
    views = _shadow_views(settings)
    with clickhouse.connect(settings, "dbt") as client:
        if client.command(f"EXISTS DATABASE {project.SHADOW}"):
            with publication.alone(connection):
                client.command(Ddl(settings.clickhouse_cluster).drop_database(project.SHADOW))
    connection.execute("DELETE FROM withdrawn_views WHERE view LIKE %s", [f"{project.SHADOW}.%"])
    return views


def withdrawn(connection: psycopg.Connection[Any]) -> list[Withdrawn]:
    """Return the views that were taken out of production, oldest first."""
    rows = connection.execute(
        sql.render("postgres/transform/withdrawn.sql"), {"shadow": f"{project.SHADOW}."}
    ).fetchall()
    return [Withdrawn(**{**row, "rollups": tuple(row["rollups"])}) for row in rows]


def demand_none_threw(
    connection: psycopg.Connection[Any], *, error: Callable[[str], Exception]
) -> None:
    """Raise ``error`` if a view of the shadow threw on what was inserted meanwhile."""
    rows = connection.execute(
        "SELECT view, error FROM withdrawn_views WHERE view LIKE %s", [f"{project.SHADOW}.%"]
    ).fetchall()
    if rows:
        raise error("\n".join(f"{row['view']} threw on new events: {row['error']}" for row in rows))


def demand_none_mended(
    connection: psycopg.Connection[Any],
    hung_at: datetime,
    *,
    error: Callable[[str], Exception],
) -> None:
    """Raise ``error`` if ingest made rollups good since the shadow's views were hung.

    It does so by the day, from all events of the day: history that is filled in afterwards would be
    there twice.
    """
    mended = connection.execute(
        sql.render("postgres/transform/mended_since.sql"), {"hung_at": hung_at}
    ).fetchall()
    if mended:
        batches = ", ".join(str(row["batch_id"]) for row in mended)
        raise error(
            f"ingest made the rollups of micro-batches {batches} good while this deployment filled "
            "in history, which may be counted twice; nothing was swapped: deploy again"
        )


def mended(
    connection: psycopg.Connection[Any], client: Client, database: str, models: Iterable[str]
) -> None:
    """Forget the views of models that were built again or removed.

    Days of which windows were withheld are marked as rebuilt, so that they are audited again.
    """
    views = [f"{project.PRODUCTION}.{name}_mv" for name in models]
    days = connection.execute(
        sql.render("postgres/transform/mended_days.sql"), {"views": views}
    ).fetchall()
    if days:
        client.insert(
            "rebuilt_days",
            [[row["day"], "a withdrawn rollup was filled again"] for row in days],
            column_names=["day", "reason"],
            database=database,
        )
    connection.execute("DELETE FROM withdrawn_views WHERE view = ANY(%s)", [views])


def note_try(connection: psycopg.Connection[Any], release: str) -> None:
    """Note that a release did not bring the withdrawn views back.

    Those that threw what may pass are tried again, whatever release there is.
    """
    connection.execute(
        "UPDATE withdrawn_views SET tried_release = %s WHERE NOT may_pass", [release]
    )


def _shadow_views(settings: Settings) -> list[str]:
    with clickhouse.connect(settings, "dbt") as client:
        rows = client.query(
            sql.render("clickhouse/transform/shadow_views.sql"),
            parameters={"database": project.SHADOW},
        ).result_rows
    return [row[0] for row in rows]
