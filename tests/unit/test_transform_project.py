"""The dbt project as files, and the environment dbt gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from millrace.settings import Settings
from millrace.transform import project
from millrace.transform.ddl import Ddl


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["build"], "sandbox"),
        (["run", "--target", "analytics"], "analytics"),
        (["run", "-t", "analytics", "--select", "x"], "analytics"),
        (["run", "--target=analytics"], "analytics"),
    ],
)
def test_a_command_works_in_the_sandbox_unless_it_names_a_target(
    arguments: list[str], target: str
) -> None:
    assert project.target_of(arguments) == target


def test_the_fingerprint_follows_the_files_and_not_what_dbt_writes(tmp_path: Path) -> None:
    copy = tmp_path / "dbt"
    project.copy(project.SOURCE, copy)
    before = project.fingerprint(copy)
    (copy / "target").mkdir()
    (copy / "target" / "manifest.json").write_text("{}")
    assert project.fingerprint(copy) == before == project.fingerprint()

    (copy / "models" / "new.sql").write_text("select 1")
    assert project.fingerprint(copy) != before


def test_a_sandbox_reads_its_own_sample_and_production_the_base_tables(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        clickhouse_url="https://me:secret@warehouse:8443/events_db",
        clickhouse_dbt_password=SecretStr(""),
    )
    sandbox = project.profile(settings, project.SANDBOX)
    production = project.profile(settings, project.PRODUCTION)
    assert sandbox["MILLRACE_DBT_SOURCES"] == sandbox["MILLRACE_DBT_SANDBOX"]
    assert sandbox["MILLRACE_DBT_SOURCES"].startswith("analytics_dev_")
    assert production["MILLRACE_DBT_SOURCES"] == "events_db"
    assert production["MILLRACE_DBT_SECURE"] == "True"
    assert production["DBT_ENV_SECRET_CLICKHOUSE_PASSWORD"] == "secret"


def test_a_deployment_reaches_every_replica_of_a_cluster() -> None:
    def statements(ddl: Ddl) -> list[str]:
        return [
            ddl.create_database("a"), ddl.drop_database("a"), ddl.truncate("a.b"),
            ddl.drop_table("a.b"), ddl.exchange("a.b", "c.b"), ddl.rename("a.b", "c.b"),
            ddl.create_view("a.b", "SELECT 1"), ddl.copy("a.b", "c.b")[0],
            ddl.create_materialized_view("a.b_mv", "a.b", "SELECT 1"),
        ]  # fmt: skip

    alone, together = statements(Ddl()), statements(Ddl("events_cluster"))
    assert all(" ON CLUSTER events_cluster" in statement for statement in together)
    assert [s.replace(" ON CLUSTER events_cluster", "") for s in together] == alone
    # parts are attached on one replica and fetched by the others
    assert "ON CLUSTER" not in Ddl("events_cluster").copy("a.b", "c.b")[1]
