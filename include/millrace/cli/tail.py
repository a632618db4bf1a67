"""``./millrace tail``: what is being loaded, and why what is rejected is."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millrace.cli.errors import fail
from millrace.contract.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY_SECONDS = 0.5
LOOK_BACK_SECONDS = 3_600.0


def tail(
    source: Annotated[str | None, typer.Option(help="Of this source only.")] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Only what was rejected.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1_000, help="How many of the last hour.")
    ] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one a line.")] = False,
) -> None:
    """Show the last messages and what the gate said of each; personal data is left out."""
    shown = 0
    for batch in _looks(source, follow=follow):
        entries = [one for one in batch if one["verdict"] == "rejected" or not rejected]
        for one in entries if shown else entries[-lines:]:
            typer.echo(json.dumps(one, default=str, ensure_ascii=False) if as_json else line(one))
        shown += len(entries) or 1
    if shown == 1:
        typer.echo("nothing was loaded in the last hour", err=True)


def line(one: dict[str, Any]) -> str:
    """Return what people read of a message: when, what, and what speaks against it."""
    text = f"{one['received_at']:%H:%M:%S.%f}"[:12]
    text += f"  {one['source_id']}  {one['verdict']:<8}  {one['event'] or '-'}"
    text += f"  {one['event_id'] or '-'}"
    if one["verdict"] == "rejected":
        against = [one["reason"], one["field"], one["rule"] and f"rule {one['rule']}"]
        text += f"  {' '.join(part for part in against if part)}"
        text += f": {one['detail']}" if one["detail"] else ""
    return " ".join(visible(text).splitlines())


def _looks(source_id: str | None, *, follow: bool) -> Iterator[list[dict[str, Any]]]:
    from millrace.contract import sources
    from millrace.ingest.judged import Judged
    from millrace.settings import Settings
    from millrace.stores import clickhouse, postgres

    settings = Settings()
    with (
        postgres.connect(settings) as connection,
        clickhouse.connect(settings, "operator") as client,
    ):
        known = sources.every(connection)
        if source_id and source_id not in {source.source_id for source in known}:
            names = ", ".join(source.source_id for source in known)
            raise fail(f"there is no source {source_id!r}; there are {names}")
        judged = Judged(connection, client, known, source_id)
        yield judged.look(LOOK_BACK_SECONDS)
        while follow:
            time.sleep(EVERY_SECONDS)
            yield judged.look()
