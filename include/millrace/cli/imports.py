"""``./millrace import``: send a file of one's own through Kafka like everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import INTERRUPTED, NO, fail
from millrace.contract.failures import parse
from millrace.contract.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from millrace.imports.arrivals import Fate
    from millrace.imports.check import Findings
    from millrace.imports.send import Outcome
    from millrace.imports.warehouse import Tally

Step = Callable[[str, int, int | None], None]

GO_ON = "Run the same command to go on; each row counts once"
LEFT_TO_INGEST = (
    "all rows are in Kafka, and are loaded without this command. Run it again to see what became "
    "of them"
)


def import_file(
    file: Annotated[Path, typer.Argument(help="NDJSON, JSON, CSV, TSV (each also .gz), Parquet.")],
    mapping: Annotated[
        Path | None, typer.Option(help="Mapping file, YAML or TOML; see docs/importing.md.")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN; may be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE; may be repeated.")
    ] = None,
    hash_: Annotated[
        list[str] | None,
        typer.Option("--hash", help="user_id=COLUMN,COLUMN or event_id=…: made of those."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN: the column's name in properties.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Time zone of times without one; default UTC.")] = "",
    shift_to: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Move times by whole days: the first row's day."),
    ] = None,
    shift_days: Annotated[
        int | None, typer.Option(help="Move times by so many days; instead of --shift-to.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="What separates columns; default: found.")] = "",
    encoding: Annotated[str, typer.Option(help="Encoding of text; default UTF-8.")] = "",
    quotes: Annotated[bool, typer.Option(help="Whether quote marks enclose values.")] = True,
    topic: Annotated[str, typer.Option(help="Topic; default MILLRACE_EVENTS_TOPIC.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of the rows; send none.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until all is loaded.")] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Send a file that was sent with another mapping.")
    ] = False,
) -> None:
    """Import a file: each row becomes an event, sent through Kafka like everything else.

    The whole file is checked before a row is sent; then the rows are sent, and waited for. At the
    end it says what became of them: loaded, already there, rejected, bad. Bad rows are written to
    a file of their own, to be mended and imported alone. Exits with 1 if a row was bad or rejected.
    """
    from rich.console import Console

    from millrace.imports import arrivals, send
    from millrace.imports.files import Reading
    from millrace.imports.mapping import Mapping
    from millrace.imports.request import Request
    from millrace.settings import Settings

    settings = Settings()
    console = Console(stderr=True)
    at: list[str] = []
    try:
        how = Mapping.build(
            mapping, maps=map_ or (), sets=set_ or (), hashes=hash_ or (), keeps=keep or (),
            zone=zone,
        )  # fmt: skip
        request = Request(
            file,
            how,
            topic or settings.events_topic,
            Reading(delimiter.replace("\\t", "\t"), encoding, quotes),
            shift_to.date() if shift_to else None,
            shift_days,
            again,
        )
        with _progress(console, at) as step:
            outcome = send.run(request, settings, is_dry=dry_run, tell=step)
            fate = None
            if wait and not dry_run:
                at[:] = [LEFT_TO_INGEST]
                fate = arrivals.wait(
                    outcome, settings, lambda done, total: step("loading", done, total)
                )
    except KeyboardInterrupt:
        said = at[0] if at else "nothing was sent. Run the same command to go on"
        console.print(f"Interrupted: {said}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, RuntimeError) as error:
        raise fail(f"can't import {file}: {error}") from error
    _say(outcome, fate, is_dry=dry_run)
    is_fine = not outcome.found.bad and not (
        fate.rejected or fate.missing if fate else outcome.found.rejected
    )
    if not is_fine:
        raise typer.Exit(NO)


@contextmanager
def _progress(console: Console, at: list[str]) -> Iterator[Step]:
    """Show how far an import is; leave in ``at`` what an interruption has to say."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("checking", total=None)

        def step(what: str, done: int, total: int | None) -> None:
            text = f"{what}: {done:,}" + (f" of {total:,}" if total else "")
            progress.update(task, completed=done, total=total, description=text)
            if what == "sending":
                at[:] = [f"{done:,} of {total:,} rows or more were sent. {GO_ON}"]

        yield step


def _say(outcome: Outcome, fate: Fate | None, *, is_dry: bool) -> None:
    """Say what became of the rows, a line each."""
    found = outcome.found
    resumed = f" (went on after row {outcome.resumed_after:,})" if outcome.resumed_after else ""
    lines = [f"{listing.count(found.rows, 'row')} in {outcome.job.request.path.name}{resumed}"]
    if fate is None:
        would = "would be sent" if is_dry else "sent"
        lines.append(f"{outcome.sent:>12,} {would}")
        lines.append(f"{outcome.known:>12,} already there, not sent again")
        for label, tally in found.rejected.items():
            reason, field, rule = parse(label)
            place = f" ({', '.join(part for part in (field, rule and f'rule {rule}') if part)})"
            lines.append(
                f"{tally.rows:>12,} of them would be rejected: {reason}{place}{_lines(tally)}"
            )
    else:
        lines.append(f"{fate.loaded:>12,} loaded")
        lines.append(f"{fate.known:>12,} already there")
        for reason, tally in fate.rejected.items():
            lines.append(f"{tally.rows:>12,} rejected: {reason}{_lines(tally)}")
        if fate.missing:
            lines.append(f"{fate.missing:>12,} have not arrived; see ./millrace ingest status")
    lines.append(f"{found.bad:>12,} bad, not sent")
    typer.echo("\n".join(lines))
    if found.bad:
        _say_bad(found, outcome)
    elif fate and fate.rejected:
        typer.echo("Rejected events are kept whole, and can be replayed: docs/rejection-reasons.md")


def _say_bad(found: Findings, outcome: Outcome) -> None:
    for bad in found.examples[:10]:
        typer.echo(f"  line {bad.line}: {visible(bad.reason)}")
    if found.bad > 10:
        typer.echo(f"  and {found.bad - 10:,} more; all with their lines: {found.report}")
    shift = outcome.job.shift.days
    hint = f", with --shift-days {shift} in place of --shift-to" if shift else ""
    typer.echo(f"Bad rows, to be mended and imported alone{hint}: {found.mend}")
    typer.echo(f"Their lines and reasons: {found.report}")


def _lines(tally: Tally) -> str:
    shown = ", ".join(str(line) for line in tally.lines[:10])
    more = ", …" if tally.rows > len(tally.lines[:10]) else ""
    return f" (line {shown}{more})" if tally.rows == 1 else f" (lines {shown}{more})"
