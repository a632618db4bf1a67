"""What import-linter can't see: a dependency that is spelled as a command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOORS = ROOT / "include" / "millrace" / "cli"
COMMAND_LINE = re.compile(r"\bmillrace\.cli\b")


def production() -> Iterator[Path]:
    for folder in ("include/millrace", "dags", "plugins"):
        yield from (p for p in sorted((ROOT / folder).rglob("*.py")) if DOORS not in p.parents)


def _body(node: ast.AST) -> list[ast.stmt]:
    body = getattr(node, "body", [])
    return body if isinstance(body, list) else []


def commands(source: str) -> list[str]:
    """The texts in a module that name the command line, documentation left out."""
    tree = ast.parse(source)
    documented = {
        id(node.value)
        for parent in ast.walk(tree)
        for node in _body(parent)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and COMMAND_LINE.search(node.value)
        and id(node) not in documented
    ]


def test_a_command_is_found() -> None:
    module = '"""Run millrace.cli."""\nrun(["-m", "millrace.cli"])\nlog("millrace.clickhouse")'
    assert commands(module) == ["millrace.cli"]


@pytest.mark.parametrize("path", list(production()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_process_starts_the_command_line_of_its_own_project(path: Path) -> None:
    assert not commands(path.read_text(encoding="utf-8"))
