"""What holds for every file: its length, and that SQL says what it is for."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 400


def tracked(pattern: str) -> list[str]:
    """Return the files of the project by a pattern."""
    command = ["git", "-C", str(ROOT), "ls-files", pattern]
    return subprocess.check_output(command, text=True).splitlines()


@pytest.mark.parametrize("path", tracked("*.py"))
def test_a_python_file_can_be_read_in_one_go(path: str) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= LONGEST, f"{path} has {lines} lines; split it"


IN_FILES = [
    path
    for folder in ("dags", "plugins", "include/millrace")
    for path in tracked(f"{folder}/*.py")
    if "/promql/" not in path  # a compiler, whose work is SQL in pieces
]

STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP)\s")


def statements(path: str) -> Iterator[int]:
    """Yield the lines at which a file spells SQL of more than a line."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(node, ast.Constant | ast.JoinedStr) or node.end_lineno == node.lineno:
            continue
        first = node.values[0] if isinstance(node, ast.JoinedStr) else node
        text = first.value if isinstance(first, ast.Constant) else ""
        if isinstance(text, str) and STATEMENT.match(text):
            yield node.lineno


@pytest.mark.parametrize("path", IN_FILES)
def test_sql_of_more_than_a_line_is_in_a_file(path: str) -> None:
    assert list(statements(path)) == [], f"{path}: move it to include/sql"


@pytest.mark.parametrize(
    "path", [path for path in tracked("include/sql/**/*.sql") if "/migrations/" not in path]
)
def test_a_file_of_sql_says_what_it_is_for(path: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    head = [line for line in lines if not line.startswith(("{% import", "{% from"))][:1]
    assert len(lines) == 1 or head[0].startswith(("-- ", "{#")), f"{path} has no header"


NAMED = re.compile(r"[\"']((?:clickhouse|postgres)/[\w/]+\.sql(?:\.jinja)?)[\"']")


def test_every_file_of_sql_that_is_named_is_there() -> None:
    texts = {
        path: (ROOT / path).read_text()
        for pattern in ("include/*.py", "include/sql/*", "plugins/*.py", "bench/*.py", "tests/*.py")
        for path in tracked(pattern)
    }
    missing = {
        (path, name)
        for path, text in texts.items()
        for name in NAMED.findall(text)
        if not (ROOT / "include/sql" / name).exists()
    }
    assert missing == set()


def test_ci_runs_every_folder_of_tests() -> None:
    told = (ROOT / ".ci" / "run").read_text().split()
    assert {name for name in told if name.startswith("tests/")} == {
        "/".join(Path(path).parts[:2]) for path in tracked("tests/**/test_*.py")
    }
