"""The dbt project as files, and the environment dbt gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millrace.settings import Settings
from millrace.transform import project


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
    settings = Settings(home=tmp_path, clickhouse_url="https://me:secret@warehouse:8443/events_db")
    sandbox = project.profile(settings, project.SANDBOX)
    production = project.profile(settings, project.PRODUCTION)
    assert sandbox["MILLRACE_DBT_SOURCES"] == sandbox["MILLRACE_DBT_SANDBOX"]
    assert sandbox["MILLRACE_DBT_SOURCES"].startswith("analytics_dev_")
    assert production["MILLRACE_DBT_SOURCES"] == "events_db"
    assert production["MILLRACE_DBT_SECURE"] == "True"
    assert production["DBT_ENV_SECRET_CLICKHOUSE_PASSWORD"] == "secret"


def test_models_are_written_in_the_project_style() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).parent / "sqlfluff"), "lint", "models"],
        cwd=project.SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout
