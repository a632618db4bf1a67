"""``./millrace verify``: hold the warehouse against what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.errors import NO, fail


def verify(
    manifest: Annotated[
        Path | None, typer.Argument(help="Manifest of a simulation, as `simulate` named it.")
    ] = None,
    conservation: Annotated[
        bool, typer.Option("--conservation", help="Prove it for everything in the warehouse.")
    ] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help="With --conservation: only this topic.")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds that ingest may take to catch up.")] = 120,
) -> None:
    """Hold the warehouse against a manifest, exactly, and print every difference.

    The manifest of `simulate --to api` says which events were acknowledged: each must be there
    once, and a user's in their order.

    With --conservation it needs no manifest: Kafka's own offsets are held against raw_events, and
    those against events and rejected_events, so that nothing is lost, repeated or unexplained.
    Shares no code with the loader. Exits with 1 if anything differs, with 2 if it can't tell.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from millrace.lab.simulate.acknowledged import Acknowledged
    from millrace.lab.simulate.manifest import Manifest
    from millrace.lab.verify import acknowledged, simulation
    from millrace.lab.verify import conservation as conserved
    from millrace.settings import Settings

    if (manifest is None) == (not conservation):
        raise typer.BadParameter("give either a MANIFEST or --conservation")
    settings = Settings()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("waiting for ingest", total=None)

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            if manifest is None:
                report = conserved.verify(
                    settings, topics=topic or (), wait_seconds=wait, on_progress=show
                )
            elif taken := Acknowledged.read(manifest):
                report = acknowledged.verify(taken, settings, wait_seconds=wait, on_progress=show)
            else:
                sent = Manifest.read(manifest)
                report = simulation.verify(sent, settings, wait_seconds=wait, on_progress=show)
    except (LookupError, ValueError, OSError) as error:
        raise fail(f"can't verify: {error}") from error
    report.print(Console())
    typer.echo(f"{report.differences:,} differences")
    raise typer.Exit(NO if report.differences else 0)
