"""What the warehouse says of a file's events before they are sent, and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from clickhouse_connect.driver.external import ExternalData

from millrace.contract.failures import GATE_RULE, Failure
from millrace.contract.gate import Gate
from millrace.contract.sources import Source
from millrace.settings import Settings
from millrace.stores import clickhouse, headers, sql

HEADER = f"{headers.PREFIX}import"
"""Says of a message: number and turn of its import, row and line in the file."""

DUPLICATE = "duplicate_event_id"
UNPROCESSABLE = Failure("unprocessable", rule=GATE_RULE).label


@dataclass
class Tally:
    """How many rows had one fate, and the first of their lines."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """Count a row."""
        self.rows += 1
        if len(self.lines) < SHOWN:
            self.lines.append(line)


SHOWN = 20
"""So many lines are named."""


@dataclass(frozen=True)
class Outcomes:
    """What became of the messages of an import, in rows of the file."""

    arrived: int
    loaded: int
    rejected: dict[str, Tally]


class Warehouse:
    """Asks about events of a source."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.client: Client = clickhouse.connect(settings, "loader", session_id=f"import-{uuid4()}")
        self.source = source

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def judge(self, gate: Gate, values: Sequence[bytes]) -> dict[int, str]:
        """Return the first failure of each event that the gate would reject, by its place.

        Where the gate's statement fails at an event, that one alone is ``unprocessable``.
        Duplicates are told only on arrival.
        """
        try:
            return self._judge(gate, values)
        except OperationalError:
            raise
        except DatabaseError:
            if len(values) == 1:
                return {0: UNPROCESSABLE}
        half = len(values) // 2
        later = self.judge(gate, values[half:])
        return self.judge(gate, values[:half]) | {half + at: said for at, said in later.items()}

    def _judge(self, gate: Gate, values: Sequence[bytes]) -> dict[int, str]:
        statement = gate.statement(
            f"({sql.render('clickhouse/imports/rows.sql')})", claimed_at="kafka_timestamp"
        )
        content = b"".join(
            b"%d\t%b\n" % (place, _escaped(value)) for place, value in enumerate(values)
        )
        rows = self.client.query(
            sql.render("clickhouse/imports/judged.sql", statement=statement),
            external_data=_table("file_rows", content, "number UInt64, value String"),
        ).result_rows
        return {int(place): str(failure) for place, failure in rows}

    def known(self, ids: Sequence[str], first: str, last: str) -> set[str]:
        """Return which ids are there, of events from ``first`` to ``last`` (UTC, ISO 8601)."""
        rows = self.client.query(
            sql.render("clickhouse/imports/known.sql", target=self.source.target_table),
            parameters={"first": first, "last": last},
            external_data=_table("file_ids", "\n".join(ids).encode(), "event_id UUID"),
        ).result_rows
        return {str(row[0]) for row in rows}

    def outcomes(self, number: str, since: datetime) -> Outcomes:
        """Return what became of an import's messages that were claimed ``since`` then."""
        rows = self.client.query(
            sql.render("clickhouse/imports/outcomes.sql", target=self.source.target_table),
            parameters={
                "source_id": self.source.source_id,
                "topic": self.source.topic,
                "header": HEADER,
                "import": number,
                "since": f"{since:%Y-%m-%d %H:%M:%S}",
            },
        ).result_rows
        counts = {str(reason): (int(count), list(lines)) for reason, count, lines in rows}
        loaded, arrived = counts.pop("", (0, []))[0], counts.pop("arrived", (0, []))[0]
        counts.pop(DUPLICATE, None)
        rejected = {reason: Tally(count, lines) for reason, (count, lines) in counts.items()}
        return Outcomes(arrived, loaded, rejected)


def _escaped(value: bytes) -> bytes:
    """Return a message as a cell of TSV."""
    value = value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
    return value.replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def _table(name: str, content: bytes, structure: str) -> ExternalData:
    return ExternalData(file_name=name, data=content, fmt="TSV", structure=structure.split(", "))
