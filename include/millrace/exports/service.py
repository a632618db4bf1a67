"""What the DAGs and the command line call; arguments and results are plain values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from millrace.exports import definitions, on_demand
from millrace.exports import due as due_windows
from millrace.exports.definitions import ExportError, PersonalData
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.settings import Settings


def due(settings: Settings, until: datetime | None = None) -> list[dict[str, str]]:
    """Return the windows due at ``until`` (now by default), as ``export`` takes them."""
    with Exporter(settings) as exporter:
        found = due_windows.find(
            settings,
            exporter.postgres,
            exporter.clickhouse,
            definitions.read(exporter.postgres),
            until or datetime.now(UTC),
        )
    return [
        {
            "name": window.name,
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "cause": window.cause,
        }
        for window in found
    ]


def export(settings: Settings, window: Mapping[str, str], requested_by: str) -> dict[str, object]:
    """Export one window; raises what ``Exporter.run`` does."""
    with Exporter(settings) as exporter:
        (definition,) = definitions.read(exporter.postgres, window["name"])
        wanted = Window(window["name"], moment(window["start"]), moment(window["end"]))
        made = exporter.run(definition, wanted, requested_by)
    return {
        "run_id": made.run_id,
        "prefix": made.prefix,
        "rows": made.row_count,
        "bytes": made.byte_count,
        "files": len(made.files),
    }


def deliver(settings: Settings, form: Mapping[str, Any], user: str) -> dict[str, str]:
    """Make the file that the form of ``export_on_demand`` asks for; raises ``ExportError``."""
    made = on_demand.run(
        settings,
        on_demand.Request(
            name=form["dataset"],
            start=moment(form["start"]),
            end=moment(form["end"]),
            requested_by=user,
            format=form.get("format", "Parquet"),
            personal_data=PersonalData(form.get("personal_data", PersonalData.EXCLUDED)),
            filters=tuple(
                line for line in (form.get("filters") or "").splitlines() if line.strip()
            ),
        ),
    )
    return {
        "link": made.url,
        "works_until": made.expires_at.isoformat(timespec="minutes"),
        "rows": f"{made.rows:,}",
        "bytes": f"{made.bytes:,}",
    }


def moment(text: str) -> datetime:
    """Read an ISO 8601 moment; without a zone it is UTC. Raises ``ExportError``."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ExportError(f"{text!r} is no moment such as 2026-11-21T07:00") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
