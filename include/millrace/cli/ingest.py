"""``./millrace ingest``: where ingest stands."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The load from Kafka: positions, lag, incidents.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Keep the commands below as subcommands."""


@app.command()
def status(
    incidents: Annotated[int, typer.Option(help="How many incidents to show.")] = 10,
) -> None:
    """Show each partition's position, lag and owner, recent rates, and incidents."""
    from rich.console import Console
    from rich.table import Table

    from millrace.ingest.status import RECENT_SECONDS, read
    from millrace.settings import Settings

    console = Console()
    found = read(Settings(), incident_limit=incidents)

    table = Table(title="Partitions")
    for name in ("source", "topic", "partition", "position", "end", "lag", "owner", "reached"):
        table.add_column(name, justify="right" if name in {"position", "end", "lag"} else "left")
    for p in found.partitions:
        table.add_row(
            p.source_id,
            p.topic,
            str(p.partition),
            f"{p.next_offset:,}",
            "?" if p.end_offset is None else f"{p.end_offset:,}",
            "?" if p.lag is None else f"{p.lag:,}",
            p.owner if p.is_held else "nobody",
            "" if p.reached_at is None else p.reached_at.strftime("%Y-%m-%d %H:%M:%S"),
        )
    console.print(table)

    for row in found.recent:
        waiting = ""
        if row["open_batches"]:
            waiting = f"; {row['open_batches']} open, the oldest {row['oldest_open_seconds']:.1f} s"
        console.print(
            f"{row['source_id']}: {row['messages']:,} messages in the last {RECENT_SECONDS} s "
            f"({row['messages'] / RECENT_SECONDS:,.0f}/s), {row['events']:,} events, "
            f"{row['rejected']:,} rejected, in {row['batches']:,} micro-batches{waiting}"
        )

    if not found.incidents:
        console.print("No incidents in the last 30 days.")
        return
    table = Table(title="Incidents")
    for name in ("at", "source", "kind", "partition", "offsets", "detail"):
        table.add_column(name)
    for row in found.incidents:
        table.add_row(
            row["occurred_at"].strftime("%Y-%m-%d %H:%M:%S"),
            row["source_id"],
            row["kind"],
            str(row["partition"]),
            f"{row['first_offset']} to {row['next_offset'] - 1}",
            row["detail"],
        )
    console.print(table)
