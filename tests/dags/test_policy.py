"""What holds for every DAG file: it imports, wires only, and tells an operator what to do."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAGS = Path(__file__).parents[2] / "dags"
PLUGINS = DAGS.with_name("plugins")
FILES = sorted(path for path in DAGS.glob("*.py") if not path.name.startswith("_"))
LONGEST = 75
POOLS = json.loads((DAGS.parent / "deploy" / "airflow" / "pools.json").read_text())
HEAVY = {
    "chdb", "clickhouse_connect", "confluent_kafka", "dbt", "duckdb", "great_expectations",
    "millrace", "minio", "numpy", "pandas", "polars", "psycopg", "pyarrow", "redis", "requests",
}  # fmt: skip
"""Packages that a DAG file may import inside its tasks only: they cost time on every parse."""
TO_RENDER = {"millrace.settings", "millrace.transform"}
"""What `build_models` needs at the top, because its tasks are made of the deployed dbt project."""

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[DAG]]:
    """Every DAG of the repository by the stem of its file, parsed as Airflow parses it."""
    home = tmp_path_factory.mktemp("airflow_home")
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(DAGS)
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PLUGINS)
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS), safe_mode=False)
    assert bag.import_errors == {}
    found: dict[str, list[DAG]] = {path.stem: [] for path in FILES}
    for dag in bag.dags.values():
        found[Path(dag.fileloc).stem].append(dag)
    return found


def test_there_are_dags() -> None:
    assert FILES, f"no DAG files in {DAGS}"


@each_file
def test_imports_and_defines_its_dag(path: Path, dags: dict[str, list[DAG]]) -> None:
    ids = {dag.dag_id for dag in dags[path.stem]}
    assert path.stem in ids, f"{path.name} defines {ids or 'none'}; a file is named after its DAG"


@each_file
def test_says_what_an_operator_needs(path: Path, dags: dict[str, list[DAG]]) -> None:
    manual = ast.get_docstring(ast.parse(path.read_text()))
    assert manual is not None, f"{path.name} has no docstring"
    summary, *sections = manual.split("\n\n")
    assert re.fullmatch(r"[A-Z][^#*]*\.", summary), f"{path.name}: first, one sentence says it all"
    assert "\n" not in summary, f"{path.name}: the sentence is the DAG's description, one line"
    headings = re.findall(r"^\*\*(.+?)\*\*", "\n\n".join(sections), re.MULTILINE)
    assert any("fails" in heading for heading in headings), f"{path.name}: and when it fails?"
    for dag in dags[path.stem]:
        assert dag.doc_md == f"{manual}\n", f"{dag.dag_id} does not show its manual"
        assert dag.description == summary


@each_file
def test_is_set_up_like_the_others(path: Path, dags: dict[str, list[DAG]]) -> None:
    from millrace_dags import Pool, Tag

    assert {pool.value for pool in Pool} == set(POOLS)
    for dag in dags[path.stem]:
        assert dag.catchup is False, f"{dag.dag_id} would catch up on its past when first run"
        assert dag.start_date is None, f"{dag.dag_id} would run at once on a new stack"
        tags = [Tag(tag) for tag in dag.tags]
        assert len([tag for tag in tags if tag.name.startswith("TIER_")]) == 1
        assert len(tags) >= 2, f"{dag.dag_id} has no tag that says what it is about"
        for task in dag.tasks:
            assert task.owner not in ("", "airflow"), f"{dag.dag_id}.{task.task_id} has no owner"
            assert task.pool in POOLS, f"{dag.dag_id}.{task.task_id} is in {task.pool}"


def test_days_are_rebuilt_one_after_another(dags: dict[str, list[DAG]]) -> None:
    (dag,) = dags["rebuild_events"]
    assert dag.max_active_runs == 1
    assert {POOLS[task.pool]["slots"] for task in dag.tasks} == {1}  # what binds in a backfill


@each_file
def test_is_tried_again_and_notifies_nobody(path: Path, dags: dict[str, list[DAG]]) -> None:
    """Alert rules see what failed (``plugins/millrace_failures.py``); DAGs have no channels."""
    for dag in dags[path.stem]:
        assert not dag.on_failure_callback
        for task in dag.tasks:
            assert not task.on_failure_callback
            assert not task.on_retry_callback
            if task.operator_name in _NEVER_RETRIED:
                continue
            assert task.retries >= 1, f"{dag.dag_id}.{task.task_id} is never retried"
            assert task.retry_exponential_backoff, (
                f"{dag.dag_id}.{task.task_id} retries without backoff"
            )


_NEVER_RETRIED = {"DbtProducerWatcherOperator"}
"""Its first try is the build; the tasks of the models build by themselves afterwards."""


@each_file
def test_wires_only(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST, (
        f"{path.name} has {len(lines)} lines; move work to include/millrace"
    )
    tree = ast.parse(path.read_text())
    for node in tree.body:
        for name in set(_imported(node)) - TO_RENDER:
            assert name.split(".")[0] not in HEAVY, (
                f"{path.name}:{node.lineno} imports {name} at the top; import it inside the task"
            )
        assert not isinstance(node, ast.With | ast.For | ast.While | ast.Try), (
            f"{path.name}:{node.lineno} works while it is parsed"
        )


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


def test_none_does_input_or_output_when_parsed() -> None:
    """Import the files with the network and child processes forbidden."""
    script = """
import runpy, socket, subprocess, sys
import airflow.sdk, cosmos, croniter  # what libraries do while they are imported is theirs
def forbidden(*_args, **_kwargs): raise RuntimeError("input or output while parsing")
socket.socket.connect = socket.create_connection = subprocess.Popen.__init__ = forbidden
for path in sys.argv[1:]: runpy.run_path(path)
"""
    command = [sys.executable, "-c", script, *map(str, FILES)]
    environment = os.environ | {"PYTHONPATH": str(PLUGINS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
