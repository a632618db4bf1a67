"""When what a command makes runs out, as people type it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer


def read(text: str) -> datetime:
    """Read an age from now on, or a time of UTC. Raises ``typer.BadParameter``."""
    if found := re.fullmatch(r"(\d{1,5})([dh])", text):
        number = int(found[1])
        return datetime.now(UTC) + (
            timedelta(days=number) if found[2] == "d" else timedelta(hours=number)
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 90d or 12h nor a date", param_hint="--expires"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        raise typer.BadParameter(f"{text} is over", param_hint="--expires")
    return moment
