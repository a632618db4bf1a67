"""What is taken away: the package that pip installs, and the files that the image is made of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pathspec import PathSpec

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
pytestmark = pytest.mark.slow

READ_ALL = """
from millrace.alerts import rules as alerts
from millrace.exports import definitions
from millrace.quality import suites
from millrace.rules import store
from millrace.settings import REPOSITORY
from millrace.stores import accounts, sql
from millrace.transform import project

found = [
    alerts.load_seeds(), accounts.read(), definitions.seeded(), store.seeded_rules(),
    suites.load_suites(), sql.render("postgres/contract/watermark.sql"),
    (project.SOURCE / "dbt_project.yml").is_file(),
    (REPOSITORY / "include" / "migrations" / "env.py").is_file(),
]
print(REPOSITORY, all(found) and not suites.faults())
"""
"""Reads what services read beside their code."""
READ_BY_AIRFLOW = """
from millrace.stack import airflow

print(airflow.POOLS.is_file() and airflow.SHARED.is_file())
"""
IN_THE_WHEEL = (
    "dbt/", "docs/runbooks/", "expectations/", "include/migrations/", "include/seeds/",
    "include/sql/",
)  # fmt: skip


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package in a folder, as a user whose checkout this is not."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip makes it of a checkout, without its requirements."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in TRACKED:
        if "/" not in name or name.startswith(("include/", *IN_THE_WHEEL)):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(target)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_package_holds_every_file_that_it_reads(installed: Path) -> None:
    own = {
        name.removeprefix("include/") for name in TRACKED if name.startswith("include/millrace/")
    }
    beside = {f"millrace/_project/{name}" for name in TRACKED if name.startswith(IN_THE_WHEEL)}
    assert {name for name in own | beside if not (installed / name).is_file()} == set()
    read = run(installed, "-c", READ_ALL)
    assert read.stdout.split() == [str(installed / "millrace" / "_project"), "True"], read.stderr


def test_the_package_alone_asks_servers_and_says_what_it_lacks(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info")
    assert "millrace = millrace.cli.main:start" in (metadata / "entry_points.txt").read_text()
    start = ("-c", "from millrace.cli.main import start; start()")
    assert re.fullmatch(r"Millrace \d+\.\d+\.\d+\n", run(installed, *start, "--version").stdout)
    assert "Usage" in run(installed, *start, "--help").stdout
    asked = run(installed, *start, "sql", "SELECT 1")
    assert "MILLRACE_CLICKHOUSE_READER_PASSWORD is not set" in asked.stderr
    for command, folder in (("up", "dags"), ("status", "dags"), ("test", "tests")):
        refused = run(installed, *start, command)
        assert refused.returncode == 2
        assert f"{folder}/ is missing" in refused.stderr
        assert "git clone" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_image_holds_what_services_read_and_nothing_else(tmp_path: Path) -> None:
    # Docker's patterns are Git's, but for beginning at the top.
    anchored = re.sub(r"^(!?)(?!\*\*|#)", r"\1/", (ROOT / ".dockerignore").read_text(), flags=re.M)
    ignored = PathSpec.from_lines("gitwildmatch", anchored.splitlines())
    copied = [name for name in TRACKED if not ignored.match_file(name)]
    folders = {name.split("/")[0] for name in copied if "/" in name}
    assert folders == {"dags", "dbt", "deploy", "docs", "expectations", "include", "plugins"}
    for made in (".env", ".millrace/secrets.env", ".venv/bin/python", "dbt/target/manifest.json"):
        assert ignored.match_file(made), made
    for name in copied:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    read = run(tmp_path / "include", "-c", READ_ALL + READ_BY_AIRFLOW)
    assert read.stdout.split() == [str(tmp_path), "True", "True"], read.stderr
