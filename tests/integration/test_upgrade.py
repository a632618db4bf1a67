"""A stack of the last release, upgraded by ``up``: events, ledger and rollups go on.

``tests/data/release`` holds what that release left; ``make.py`` there makes it again.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.data.release.make import COUNTED, LASTING, held

from millrace import steps
from millrace.ingest.plan import plan
from millrace.ingest.worker import Share, Worker
from millrace.lab import stacks
from millrace.lab.simulate import faults, send
from millrace.lab.verify import simulation
from millrace.settings import Settings
from millrace.stack.server import find_program
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres
from millrace.stores.migrations import EditedMigrationError
from millrace.transform import deploy
from millrace.usecases import up

RELEASE = Path(__file__).parents[1] / "data" / "release"
HELD: dict[str, Any] = json.loads((RELEASE / "release.json").read_text())
BEFORE_SCHEMAS = ("topics", "buckets", "metadata schema", "warehouse schema")


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the release's data, brought up by the code as it is now."""
    home = tmp_path_factory.mktemp("upgraded")
    with tarfile.open(RELEASE / "kafka.tar.xz") as archive:
        archive.extractall(home, filter="data")
    place = {"MILLRACE_HOME": str(home)}
    with (
        stacks.port_base() as base,
        stacks.variables(place | {"MILLRACE_PORT_BASE": str(base)} | LASTING),
    ):
        stack = Stack(with_airflow=False)
        try:
            todo = up.steps(stack)
            names = [step.name for step in todo]
            first = min(names.index(name) for name in BEFORE_SCHEMAS)
            steps.run(todo[:first])
            restore_postgres(stack.settings)
            restore_clickhouse(stack.settings)
            steps.run(up.steps(stack))
            deploy.deploy(stack.settings)  # as the step "models" does
            yield stack
        finally:
            stack.shutdown()


def restore_postgres(settings: Settings) -> None:
    """Fill Millrace's empty database with the release's dump."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    program = find_program("psql", *folders, package="postgresql")
    password = settings.postgres_password.get_secret_value()
    subprocess.run(
        [program, "--quiet", "--set=ON_ERROR_STOP=1", settings.postgres_url],
        input=gzip.decompress((RELEASE / "postgres.sql.gz").read_bytes()),
        env=os.environ | {"PGPASSWORD": password},
        check=True,
        capture_output=True,
    )


def restore_clickhouse(settings: Settings) -> None:
    """Make the release's tables, fill them, and make the views on them."""
    folder = RELEASE / "clickhouse"
    statements = json.loads(gzip.decompress((folder / "tables.json.gz").read_bytes()))
    with clickhouse.connect(settings, database="default") as client:
        for database in ("millrace", "analytics", "published"):
            client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        is_filled = False
        for statement in statements:
            if not is_filled and not statement.startswith("CREATE TABLE"):
                for path in folder.glob("*.native.gz"):
                    table = path.name.removesuffix(".native.gz")
                    rows = gzip.decompress(path.read_bytes())
                    client.raw_insert(table, insert_block=rows, fmt="Native")
                is_filled = True
            client.command(statement)


def test_what_the_release_held_is_there(upgraded: Stack) -> None:
    assert held(upgraded.settings) == {"counts": HELD["counts"], "positions": HELD["positions"]}
    assert HELD["counts"]["events"] > 0
    assert HELD["counts"]["rejected_events"] > 0


def test_events_ledger_and_rollups_go_on(upgraded: Stack) -> None:
    settings = upgraded.settings
    before = held(settings)
    traffic = send.Plan(seed=2, rates=faults.rates({"huge": 0.0}), rate=200, duration=2)
    manifest = send.run(traffic, settings, topic=settings.events_topic)
    for share in plan(settings, "upgraded"):
        Worker(settings, Share.from_dict(share), "upgraded", 1).run(15)
    report = simulation.verify(manifest, settings, wait_seconds=30)
    assert report.differences == 0
    after = held(settings)
    assert sum(after["positions"]) - sum(before["positions"]) == manifest.sent
    for name in ("events", "metrics_1min"):
        assert after["counts"][name] - before["counts"][name] == manifest.accepted
    with postgres.connect(settings) as connection:
        assert connection.execute("SELECT * FROM ingest_incidents").fetchall() == []


def test_every_migration_is_recorded_with_its_hash(upgraded: Stack) -> None:
    settings = upgraded.settings
    for store, found in (
        ("postgres", postgres.migrate(settings)),
        ("clickhouse", clickhouse.migrate(settings)),
    ):
        assert found == []
        files = (settings.sql_folder / store / "migrations").glob("*.sql")
        recorded = {
            "postgres": lambda: postgres_names(settings),
            "clickhouse": lambda: clickhouse_names(settings),
        }[store]()
        assert recorded == {path.stem for path in files}


def postgres_names(settings: Settings) -> set[str]:
    """Return the migrations that PostgreSQL has recorded."""
    with postgres.connect(settings) as connection:
        rows = connection.execute("SELECT name FROM schema_migrations").fetchall()
    return {row["name"] for row in rows}


def clickhouse_names(settings: Settings) -> set[str]:
    """Return the migrations that ClickHouse has recorded with a hash."""
    with clickhouse.connect(settings) as client:
        rows = client.query("SELECT name FROM schema_migrations FINAL WHERE content_hash != ''")
        return {str(name) for (name,) in rows.result_rows}


def test_an_edited_migration_of_postgres_is_refused_by_name(upgraded: Stack) -> None:
    settings = upgraded.settings
    with postgres.connect(settings) as connection:
        change = "UPDATE schema_migrations SET content_hash = %s WHERE name = 'rules_0002'"
        connection.execute(change, ["of another file"])
        with pytest.raises(EditedMigrationError, match=r"rules_0002\.sql was edited"):
            postgres.migrate(settings)
        connection.execute("DELETE FROM schema_migrations WHERE name = 'rules_0002'")
    assert postgres.migrate(settings) == []


def test_the_counts_are_of_what_there_is() -> None:
    assert HELD["counts"].keys() == COUNTED.keys()
