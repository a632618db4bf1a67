"""What a person sees while steps run side by side, and when one fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from millrace.cli.errors import INTERRUPTED

Report = Callable[[str, str], None]


@contextmanager
def steps(console: Console) -> Iterator[Report]:
    """Yield a function that shows a step's state: spinners on a terminal, else a line a step."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(name: str, state: str) -> None:
            if state == "running":
                tasks[name] = progress.add_task(name, total=1)
            elif state == "done":
                progress.update(tasks[name], completed=1)
            elif state == "failed":
                progress.update(tasks[name], description=f"[red]✗ {name}")
                progress.stop_task(tasks[name])

        yield report


def _lines(console: Console) -> Report:
    started: dict[str, float] = {}

    def report(name: str, state: str) -> None:
        if state == "running":
            started[name] = time.monotonic()
        elif state in ("done", "failed"):
            mark = "✓" if state == "done" else "✗"
            console.print(f"{mark} {name} ({time.monotonic() - started[name]:.1f} s)")

    return report


@contextmanager
def interruptible(console: Console) -> Iterator[None]:
    """End at once when interrupted: steps under way bear it, and threads would be waited for."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("Interrupted. What was done stays; run the same command to go on.")
        sys.stdout.flush()
        os._exit(INTERRUPTED)
