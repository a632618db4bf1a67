"""``./millrace bench`` and ``./millrace airflow``: other programs, with the stack's environment."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import typer

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def bench(context: typer.Context) -> None:
    """Run a benchmark: `bench NAME [OPTIONS]`; without a name, list them.

    `bench NAME --help` says what it measures and what it can be told. Results go to bench/results.
    """
    from millrace.settings import of_checkout

    folder = of_checkout("bench")
    known = _benchmarks(folder)
    name, *arguments = context.args or ["--help"]
    if name in {"-h", "--help"}:
        width = max(map(len, known))
        for one, meaning in known.items():
            typer.echo(f"./millrace bench {one:<{width}}  {meaning}")
        return
    if name not in known:
        raise typer.BadParameter(f"there is no benchmark {name}; choose from {', '.join(known)}")
    os.chdir(folder.parent)
    os.execv(sys.executable, [sys.executable, "-m", f"bench.{name}", *arguments])


def _benchmarks(folder: Path) -> dict[str, str]:
    """Return what each benchmark that can be run measures, by its name."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":\n' in text:
            meaning = (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
            found[path.stem] = meaning.partition(": ``")[0].rstrip(".")
    return found


def airflow(context: typer.Context) -> None:
    """Run Airflow's own command line on this stack: `airflow dags list`, `airflow backfill …`."""
    from millrace.cli.stack import existing_stack

    stack = existing_stack()
    program = Path(sys.executable).parent / "airflow"
    os.execve(program, [str(program), *context.args], stack.child_environment)
