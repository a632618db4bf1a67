"""``./millrace ingest``: where ingest stands."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli import listing

app = typer.Typer(help="The load from Kafka: positions, lag, incidents.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Keep the commands below as subcommands."""


@app.command()
def status(
    incidents: Annotated[int, typer.Option(help="How many incidents to show.")] = 10,
    as_json: listing.AsJson = False,
    as_yaml: listing.AsYaml = False,
) -> None:
    """Show each partition's position, lag and owner, recent rates, and incidents."""
    from millrace.ingest.status import RECENT_SECONDS, read
    from millrace.settings import Settings

    found = read(Settings(), incident_limit=incidents)
    partitions = [
        {
            "source": p.source_id,
            "topic": p.topic,
            "partition": p.partition,
            "position": p.next_offset,
            "end": p.end_offset,
            "lag": p.lag,
            "owner": p.owner if p.is_held else "nobody",
            "reached_at": p.reached_at,
        }
        for p in found.partitions
    ]
    losses = [
        {
            "at": row["occurred_at"],
            "source": row["source_id"],
            "kind": row["kind"],
            "partition": row["partition"],
            "offsets": f"{row['first_offset']} to {row['next_offset'] - 1}",
            "detail": row["detail"],
        }
        for row in found.incidents
    ]
    if as_json or as_yaml:
        whole = {"partitions": partitions, "recent": found.recent, "incidents": losses}
        listing.document(whole, as_yaml=as_yaml)
        return
    listing.show(partitions, title="Partitions")
    for row in found.recent:
        waiting = ""
        if row["open_batches"]:
            waiting = f"; {row['open_batches']} open, the oldest {row['oldest_open_seconds']:.1f} s"
        typer.echo(
            f"{row['source_id']}: {row['messages']:,} messages in the last {RECENT_SECONDS} s "
            f"({row['messages'] / RECENT_SECONDS:,.0f}/s), {row['events']:,} events, "
            f"{row['rejected']:,} rejected, in {row['batches']:,} micro-batches{waiting}"
        )
    if losses:
        listing.show(losses, title="Incidents")
    else:
        typer.echo("No incidents in the last 30 days.")
