"""What the steps of a rebuild share: its report, the names of its tables, and its statements."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from millrace.contract.fields import COLUMNS
from millrace.ingest.rebuild.rollups import SETTINGS, Rollups
from millrace.ingest.warehouse import DUPLICATE
from millrace.settings import Settings
from millrace.stores import clickhouse, sql


class RebuildError(RuntimeError):
    """The day could not be rebuilt; it is as it was. The message says why."""


@dataclass
class Report:
    """What a rebuild changed: messages by verdict (``event`` or the reason), before and after.

    ``sources`` says how many messages each source gave, ``steps`` how many seconds each step took.
    """

    day: str
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    judged: int = 0
    arrived_meanwhile: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    rollups: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    locked_seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for Airflow to carry."""
        return {**asdict(self), "summary": str(self)}

    def table(self) -> str:
        """Return the rows before and after, a line per verdict."""
        lines = [f"{'':<28}{'before':>14}{'after':>14}{'change':>12}"]
        for verdict in sorted({*self.before, *self.after}, key=lambda v: (v != "event", v)):
            old, new = self.before.get(verdict, 0), self.after.get(verdict, 0)
            lines.append(f"{verdict:<28}{old:>14,}{new:>14,}{new - old:>+12,}")
        return "\n".join(lines)

    def __str__(self) -> str:
        verdicts = sorted({*self.before, *self.after}, key=lambda v: (v != "event", v))
        changes = ", ".join(
            f"{v} {self.before.get(v, 0):,} → {self.after.get(v, 0):,}" for v in verdicts
        )
        taken = ", ".join(f"{count:,} from {source}" for source, count in self.sources.items())
        return (
            f"{self.day}: {changes or 'nothing there'}; judged {self.judged:,} messages "
            f"({taken or 'there are none'}), {self.arrived_meanwhile:,} events arrived "
            f"meanwhile, {self.seconds:.1f} s, of which publishing waited {self.locked_seconds:.1f}"
        )


class Session:
    """A rebuild's session in ClickHouse: temporary tables, shadows, and what is bound everywhere.

    ``bound`` holds the parameters of every statement under ``sql/clickhouse/rebuild``.
    """

    def __init__(self, settings: Settings, day: date, target: str) -> None:
        self.client = clickhouse.connect(
            settings,
            "loader",
            session_id=f"rebuild-{uuid.uuid4().hex}",
            session_seconds=clickhouse.PATIENT_SESSION_SECONDS,
        )
        self.database = clickhouse.database(settings)
        self.target = target
        suffix = f"__rebuild_{day:%Y%m%d}"
        self.shadow = f"{target}{suffix}"
        self.arrived = f"{target}{suffix}_arrived"
        self.duplicates = f"{target}{suffix}_duplicates"
        self.unfinished = f"{target}{suffix}_unfinished"
        self.rejected = f"rejected_events{suffix}"
        self.gathered = f"raw_events{suffix}"
        self.messages = "raw_events"
        self.rollups = Rollups(self.client, self.database, suffix)
        self.bound: dict[str, Any] = {"day": day}

    def close(self) -> None:
        """End the session; its temporary tables go with it."""
        self.client.close()

    def demand_alive(self) -> None:
        """Raise ``RebuildError`` if the server has ended the session while nobody used it."""
        if not self.number("EXISTS TEMPORARY TABLE fresh"):
            raise RebuildError(
                f"{self.bound['day']} stays as it is: ClickHouse has ended this rebuild's session, "
                "which waited for long, or it was started again; run the rebuild again"
            )

    def render(self, name: str, **variables: Any) -> list[str]:
        """Return the statements of ``rebuild/<name>.sql``."""
        tables = {
            "target": self.target,
            "shadow": self.shadow,
            "arrived": self.arrived,
            "rejected_shadow": self.rejected,
            "duplicates": self.duplicates,
            "gathered": self.gathered,
            "messages": self.messages,
            "unfinished": self.unfinished,
        }
        # A DELETE is a mutation, which has neither a default database nor temporary tables.
        names = {name: f"{self.database}.{table}" for name, table in tables.items()}
        shared = {"target_name": self.target, "columns": COLUMNS, "duplicate": DUPLICATE}
        return sql.render_all(f"clickhouse/rebuild/{name}.sql", **{**names, **shared, **variables})

    def run(self, name: str, **values: Any) -> Any:
        """Run ``rebuild/<name>.sql``; ``values`` fill the template or are bound."""
        (statement,) = self.render(name, **values)
        return self.client.query(statement, parameters={**self.bound, **values}, settings=SETTINGS)

    def rows(self, name: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run ``rebuild/<name>.sql`` and return its rows."""
        return [tuple(row) for row in self.run(name, **values).result_rows]

    def command(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        """Run a statement that answers nothing."""
        self.client.command(statement, parameters=parameters, settings=SETTINGS)

    def number(self, statement: str) -> int:
        """Return the one number that a query answers."""
        return int(str(self.client.query(statement, parameters=self.bound).result_rows[0][0]))

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return self.number(f"SELECT count() FROM {table}")  # noqa: S608

    def is_there(self, table: str) -> bool:
        """Tell whether a table exists."""
        return bool(self.number(f"EXISTS TABLE {table}"))
