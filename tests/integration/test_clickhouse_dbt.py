"""The materializations of dbt-clickhouse, built and built again on the embedded server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.lab.engines import Engine, password

PROJECT = {
    "dbt_project.yml": """
name: engine
version: "1.0"
profile: engine
model-paths: [models]
seed-paths: [seeds]
snapshot-paths: [snapshots]
models:
  +contract: {enforced: false}
""",
    "profiles.yml": """
engine:
  target: engine
  outputs:
    engine:
      type: clickhouse
      driver: http
      host: 127.0.0.1
      port: "{{ env_var('PORT') | as_number }}"
      user: millrace
      password: "{{ env_var('DBT_ENV_SECRET_PASSWORD') }}"
      schema: analytics_test
      threads: 2
      use_lw_deletes: true
""",
    "seeds/numbers.csv": "id,name\n1,one\n2,two\n3,three\n",
    "models/a_view.sql": "select id, name from {{ ref('numbers') }}",
    "models/a_table.sql": """
{{ config(materialized='table', engine='MergeTree', order_by='id', contract={'enforced': true}) }}
select id, name from {{ ref('a_view') }}
""",
    "models/an_ephemeral.sql": """
{{ config(materialized='ephemeral') }}
select id, upper(name) as name from {{ ref('a_table') }}
""",
    "models/a_materialized_view.sql": """
{{ config(materialized='materialized_view', engine='SummingMergeTree', order_by='length') }}
select length(name) as length, count() as names from {{ ref('a_table') }} group by length
""",
    **{
        f"models/incremental_{name}.sql": f"""
{{{{ config(materialized='incremental', incremental_strategy='{strategy}', engine='MergeTree',
   order_by='id', partition_by='id'{key}) }}}}
select id, name, {{{{ 'true' if is_incremental() else 'false' }}}} as is_second
from {{{{ ref('an_ephemeral') }}}}
{{% if is_incremental() %}} where id > 1 {{% endif %}}
"""
        for name, strategy, key in [
            ("append", "append", ""),
            ("delete_insert", "delete+insert", ", unique_key='id'"),
            ("insert_overwrite", "insert_overwrite", ""),
            ("legacy", "legacy", ", unique_key='id'"),
        ]
    },
    "snapshots/changes.sql": """
{% snapshot changes %}
{{ config(unique_key='id', strategy='check', check_cols='all', target_schema='analytics_test') }}
select id, name from {{ ref('a_view') }}
{% endsnapshot %}
""",
    "models/_models.yml": """
models:
  - name: a_table
    columns:
      - {name: id, data_type: Int32, data_tests: [unique, not_null]}
      - {name: name, data_type: String}
  - name: incremental_delete_insert
    columns:
      - {name: id, data_tests: [unique]}
unit_tests:
  - name: view_passes_names_on
    model: a_view
    given:
      - input: ref('numbers')
        rows: [{id: 7, name: seven}]
    expect:
      rows: [{id: 7, name: seven}]
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project with a model of each kind."""
    root = tmp_path_factory.mktemp("engine_dbt")
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text.lstrip())
    return root


def dbt(project: Path, engine: Engine, *arguments: str) -> None:
    """Run dbt in a process of its own, as an analyst's tool would."""
    command = [sys.executable, "-m", "dbt.cli.main", *arguments, "--profiles-dir", "."]
    environment = os.environ | {
        "PORT": str(engine.port),
        "DBT_ENV_SECRET_PASSWORD": password("millrace"),
    }
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


def kinds(project: Path) -> dict[str, str]:
    """Return each node's outcome in dbt's last run."""
    results = json.loads((project / "target" / "run_results.json").read_text())["results"]
    return {result["unique_id"].split(".")[2]: result["status"] for result in results}


def test_every_materialization_is_built_twice_and_tested(project: Path, engine: Engine) -> None:
    dbt(project, engine, "build")
    assert set(kinds(project).values()) <= {"success", "pass"}
    assert engine.text("SELECT count() FROM analytics_test.incremental_append") == "3"

    # a second run sees what the first left: rows are appended, replaced, or versioned
    (project / "seeds" / "numbers.csv").write_text("id,name\n1,one\n2,two\n3,drei\n")
    dbt(project, engine, "build")
    engine_rows = {
        name: engine.text(
            "SELECT groupArray((id, is_second)) FROM "
            f"(SELECT id, is_second FROM analytics_test.{name} ORDER BY id, is_second)"
        )
        for name in (
            "incremental_append",
            "incremental_delete_insert",
            "incremental_insert_overwrite",
            "incremental_legacy",
        )
    }
    replaced = "[(1,false),(2,true),(3,true)]"
    assert engine_rows == {
        "incremental_append": "[(1,false),(2,false),(2,true),(3,false),(3,true)]",
        "incremental_delete_insert": replaced,
        "incremental_insert_overwrite": replaced,
        "incremental_legacy": replaced,
    }
    assert engine.text("SELECT sum(names) FROM analytics_test.a_materialized_view") == "3"
    assert (
        engine.text("SELECT countIf(dbt_valid_to IS NULL), count() FROM analytics_test.changes")
        == "3\t4"
    )


def test_a_full_refresh_and_the_catalogue(project: Path, engine: Engine) -> None:
    dbt(project, engine, "run", "--full-refresh", "--select", "incremental_append")
    assert engine.text("SELECT count() FROM analytics_test.incremental_append") == "3"
    dbt(project, engine, "docs", "generate", "--static")
    catalogue = json.loads((project / "target" / "catalog.json").read_text())
    names = {node.split(".")[-1] for node in catalogue["nodes"]}
    assert {"a_view", "a_table", "incremental_append", "numbers"} <= names
