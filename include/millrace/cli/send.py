"""``./millrace send``: events of one's own, typed or piped."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from millrace.cli.errors import fail


def send(
    events: Annotated[
        list[str] | None, typer.Argument(help="JSON objects; else stdin's, one a line.")
    ] = None,
    topic: Annotated[str, typer.Option(help="Topic; default MILLRACE_EVENTS_TOPIC.")] = "",
) -> None:
    """Send events to Kafka, as a service of yours would; docs/events.md says what they look like.

    An event without `event_id` or `timestamp` gets one. Says where each went.
    """
    from millrace.settings import Settings
    from millrace.usecases import send_events

    try:
        texts = events or [line for line in sys.stdin.read().split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise fail(f"stdin is not UTF-8: {error}; nothing was sent") from None
    if not texts:
        raise typer.BadParameter("give an event as a JSON object", param_hint="EVENTS")
    try:
        sent = send_events.send(Settings(), map(send_events.completed, texts), topic)
    except send_events.SendError as error:
        raise fail(error) from None
    for one in sent:
        typer.echo(f"{one.event['event_id']}: partition {one.partition}, offset {one.offset}")
