"""Make the fixture of ``tests/integration/test_upgrade.py``: a stack as a release left it.

Runs in a checkout of the release, with that release's environment:

    git worktree add ../release COMMIT
    cd ../release && ./millrace --help
    PYTHONPATH=.:include .venv/bin/python THIS/FILE OUTPUT/FOLDER

It brings up a stack without Airflow, builds the dbt models, sends some seconds of simulated
traffic, loads it, and writes into the folder: ``postgres.sql.gz``, a dump; ``clickhouse/``, every
table's statement and rows; ``kafka.tar.xz``, the broker's folder; ``release.json``, what the stack
held.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from millrace.settings import Settings
from millrace.stack.server import find_program
from millrace.stores import clickhouse, postgres

LASTING = {
    "MILLRACE_EVENTS_RETENTION_DAYS": "2200",
    "MILLRACE_RAW_RETENTION_DAYS": "2200",
    "MILLRACE_TOPIC_RETENTION_HOURS": "480000",
}
"""The most there is, so that the fixture is good for six years."""

DATABASES = ("millrace", "analytics", "published")
COUNTED = {
    "events": "SELECT count() FROM millrace.events",
    "rejected_events": "SELECT count() FROM millrace.rejected_events",
    "raw_events": "SELECT count() FROM millrace.raw_events",
    "metrics_1min": "SELECT sum(events) FROM analytics.metrics_1min",
}


def main(output: Path) -> None:
    """Make the fixture in ``output``."""
    from tests.helpers import embedded  # where the release has it

    shutil.rmtree(output / "clickhouse", ignore_errors=True)
    (output / "clickhouse").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as home:
        with embedded.running(Path(home), with_airflow=False, **LASTING) as stack:
            settings = stack.settings
            here = {"MILLRACE_HOME": home, "MILLRACE_PORT_BASE": str(settings.port_base)}
            with embedded.variables(LASTING | here):
                fill(settings)
            commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
            found = json.dumps({"commit": commit} | held(settings), indent=2)
            (output / "release.json").write_text(f"{found}\n")
            dump_clickhouse(settings, output / "clickhouse")
            dump_postgres(settings, output / "postgres.sql.gz")
        with tarfile.open(output / "kafka.tar.xz", "w:xz") as archive:
            archive.add(Path(home) / "kafka", "kafka")


def fill(settings: Settings) -> None:
    """Build the models, send some traffic and load it."""
    # As the release has them; the upgrade's test imports this file, too.
    from millrace.simulate import faults, send

    from millrace.ingest.plan import plan
    from millrace.ingest.worker import Share, Worker
    from millrace.transform import deploy

    deploy.deploy(settings)
    traffic = send.Plan(seed=1, rates=faults.rates({"huge": 0.0}), rate=200, duration=3)
    send.run(traffic, settings, topic=settings.events_topic)
    for share in plan(settings, "release"):
        Worker(settings, Share.from_dict(share), "release", 1).run(15)


def held(settings: Settings) -> dict[str, object]:
    """Return what the stack holds."""
    with clickhouse.connect(settings) as client:
        counts = {name: client.command(question) for name, question in COUNTED.items()}
    with postgres.connect(settings) as connection:
        rows = connection.execute(
            "SELECT partition, next_offset FROM ingest_positions ORDER BY partition"
        )
        positions = [row["next_offset"] for row in rows]
    return {"counts": counts, "positions": positions}


def dump_clickhouse(settings: Settings, folder: Path) -> None:
    """Write each table's statement, and the rows of those that keep some."""
    with clickhouse.connect(settings) as client:
        tables = client.query(
            "SELECT database, name, engine, create_table_query FROM system.tables "
            "WHERE database IN {databases:Array(String)} AND NOT is_temporary "
            "ORDER BY engine LIKE '%View' OR engine = 'Dictionary', engine, database, name",
            parameters={"databases": list(DATABASES)},
        ).result_rows
        statements = []
        for database, name, engine, statement in tables:
            statements.append(statement)
            if engine.endswith("MergeTree"):
                rows = client.raw_query(f"SELECT * FROM {database}.{name}", fmt="Native")
                if rows:
                    with gzip.open(folder / f"{database}.{name}.native.gz", "wb") as file:
                        file.write(rows)
    with gzip.open(folder / "tables.json.gz", "wt") as file:
        json.dump(statements, file)


def dump_postgres(settings: Settings, path: Path) -> None:
    """Write Millrace's database as ``pg_dump`` has it."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    program = find_program("pg_dump", *folders, package="postgresql")
    environment = os.environ | {
        "PGPASSWORD": settings.postgres_password.get_secret_value(),
    }
    done = subprocess.run(
        [program, "--no-owner", "--no-privileges", settings.postgres_url],
        check=True,
        capture_output=True,
        env=environment,
    )
    with gzip.open(path, "wb") as file:
        file.write(done.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
