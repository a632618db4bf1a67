"""The locked requirements hold what ``pyproject.toml`` asks for, and services none of the tools."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pinned(name: str) -> dict[str, str]:
    lines = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(lines)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", text)[0].lower() for text in requirements}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES = names(PROJECT["project"]["dependencies"])
TOOLS = names(PROJECT["dependency-groups"]["dev"])


def test_everything_is_pinned() -> None:
    assert pinned("requirements.txt").keys() >= SERVICES | TOOLS
    assert pinned("requirements-runtime.txt").keys() >= SERVICES


def test_services_have_the_same_versions_and_no_tools() -> None:
    runtime = pinned("requirements-runtime.txt")
    assert runtime.items() <= pinned("requirements.txt").items()
    assert not runtime.keys() & TOOLS


def test_contributors_and_ci_lint_alike() -> None:
    tools = re.compile(r"(ruff\"? check|ruff\"? format --check|mypy|lint-imports)")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    in_ci = [found.replace('"', "") for found in tools.findall((ROOT / ".ci" / "run").read_text())]
    assert tools.findall(recipe[1]) == in_ci
