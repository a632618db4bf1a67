"""An analyst's own database: models built on a sample of production's events, in seconds."""

from __future__ import annotations

from millrace.settings import Settings
from millrace.stores import clickhouse, quoting, sql
from millrace.transform import project


def ensure(settings: Settings) -> None:
    """Take a sample unless the sandbox has a whole one; one that was cut off is taken anew."""
    with clickhouse.connect(settings, "dbt") as client:
        is_whole = client.command(f"EXISTS TABLE {project.sandbox_database()}.whole_sample")
    if not is_whole:
        sample(settings)


def sample(settings: Settings) -> str:
    """Fill the sandbox with a sample of production's events; return what was taken, in words.

    It holds all events of one user in some, so that sessions are whole, of the last
    ``settings.sandbox_days`` days, about ``settings.sandbox_rows`` events; and every model of the
    deployed project, built on them, so that a test never holds the sample against production.
    """
    database, base = project.sandbox_database(), clickhouse.database(settings)
    names = {
        "database": database,
        "on_cluster": quoting.on_cluster(settings.clickhouse_cluster),
        "engine": clickhouse.engine(settings),
    }
    with clickhouse.connect(settings, "dbt") as client:
        recent = int(
            client.query(
                sql.render("clickhouse/transform/count_recent.sql", base=base),
                parameters={"days": settings.sandbox_days},
            ).result_rows[0][0]
        )
        one_in = max(1, -(-recent // settings.sandbox_rows))
        for statement in sql.render_all("clickhouse/transform/sample.sql", base=base, **names):
            client.command(statement, parameters={"days": settings.sandbox_days, "one_in": one_in})
        taken = int(
            client.query(
                sql.render("clickhouse/transform/count_recent.sql", base=database),
                parameters={"days": settings.sandbox_days},
            ).result_rows[0][0]
        )
    _build_models(settings)
    with clickhouse.connect(settings, "dbt") as client:
        client.command(sql.render("clickhouse/transform/finish_sample.sql", **names))
    return (
        f"{database}: {taken:,} events of one user in {one_in}, last {settings.sandbox_days} days"
    )


def _build_models(settings: Settings) -> None:
    deployed = project.deployed(settings)
    variables = project.environment(settings, project.SANDBOX, project=deployed)
    project.run(["run", "--target", project.SANDBOX], variables)
