"""Real flights, imported: the warehouse agrees with pyarrow's own reading of the file."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.helpers.dying_producer import CrashError, dying
from tests.integration.ingest_bed import Bed

from millrace.imports import send
from millrace.imports.mapping import Mapping, MappingError
from millrace.settings import Settings

FLIGHTS = Path(__file__).parents[1] / "data" / "flights" / "flights-slice.parquet"
MAPPING = Mapping(
    columns={"timestamp": "date"},
    constants={"event": "flight", "country": "US"},
    hashed={"user_id": ["origin", "destination"]},
)


@pytest.fixture(scope="module")
def bed(settings: Settings) -> Bed:
    """A source of its own."""
    return Bed(settings)


def test_flights_per_day_and_airport_agree_with_the_file(bed: Bed) -> None:
    first_day = (datetime.now(UTC) - timedelta(days=80)).date()
    outcome = send.run(FLIGHTS, MAPPING, bed.settings, topic=bed.name, shift_to=first_day)
    bed.load()

    table = pq.read_table(FLIGHTS)
    shift = first_day - datetime(2001, 1, 1).date()
    days = pc.add(pc.cast(table["date"], "date32"), shift)
    days = pc.cast(pc.cast(days, "date32"), "string")
    grouped = table.append_column("day", days).group_by(["day", "origin"]).aggregate(
        [("delay", "sum"), ("origin", "count")]
    )  # fmt: skip
    expected = {
        (row["day"], row["origin"]): (row["origin_count"], row["delay_sum"])
        for row in grouped.to_pylist()
    }
    found = {
        (day, airport): (flights, delay)
        for day, airport, flights, delay in bed.query(
            "SELECT toString(toDate(event_time)), properties['origin'], count(), "
            "sum(toInt64(properties['delay'])) FROM events WHERE source_id = {source} GROUP BY 1, 2"
        )
    }
    assert outcome.sent == outcome.rows == table.num_rows
    assert found == expected


def test_importing_twice_counts_once(bed: Bed, tmp_path: Path) -> None:
    before = bed.query("SELECT count() FROM raw_events WHERE source_id = {source}")
    copy = tmp_path / "another-name.parquet"
    copy.write_bytes(FLIGHTS.read_bytes())
    outcome = send.run(
        copy, MAPPING, bed.settings, topic=bed.name, shift_to=datetime.now(UTC).date()
    )
    bed.load()
    assert outcome.finished_before is not None
    assert bed.query("SELECT count() FROM raw_events WHERE source_id = {source}") == before


def test_an_interrupted_import_goes_on_and_counts_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bed(settings)
    path = tmp_path / "clicks.ndjson"
    now = datetime.now(UTC).isoformat()
    path.write_text(
        "".join(f'{{"event":"click","timestamp":"{now}","user_id":{n}}}\n' for n in range(1, 501))
    )
    monkeypatch.setattr(send, "CHECKPOINT_ROWS", 100)
    with dying(monkeypatch, last=350, is_sent=False), pytest.raises(CrashError):
        send.run(path, Mapping(), settings, topic=bed.name)
    outcome = send.run(path, Mapping(), settings, topic=bed.name)
    bed.load()
    assert (outcome.skipped, outcome.sent) == (300, 500)
    bed.assert_conserved(messages=549, events=500)
    assert bed.reasons() == {"duplicate_event_id": 49}


def test_bad_rows_are_reported_and_the_others_arrive(settings: Settings, tmp_path: Path) -> None:
    bed = Bed(settings)
    path = tmp_path / "orders.csv"
    now = datetime.now(UTC).isoformat()
    lines = ["when,who,amount", f"{now},7,12.50", "someday,8,1", f"{now},,3", f"{now},9"]
    path.write_text("\n".join(lines))
    mapping = Mapping(
        columns={"timestamp": "when", "user_id": "who"}, constants={"event": "purchase"}
    )
    outcome = send.run(path, mapping, settings, topic=bed.name)
    bed.load()
    assert (outcome.rows, outcome.sent, outcome.bad) == (4, 1, 3)
    assert outcome.report is not None
    with outcome.report.open() as file:
        assert list(csv.reader(file)) == [
            ["line", "reason"],
            ["3", "timestamp 'someday' is no ISO 8601 time"],
            ["4", "user_id is empty"],
            ["5", "has 2 columns, the header has 3"],
        ]
    assert bed.query(
        "SELECT user_id, properties['amount'] FROM events WHERE source_id = {source}"
    ) == [(7, "12.50")]


def test_what_would_all_be_rejected_is_not_sent(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="MILLRACE_EVENTS_RETENTION_DAYS"):
        send.run(FLIGHTS, MAPPING, settings, topic="never_made")
    path = tmp_path / "x.ndjson"
    path.write_text(f'{{"timestamp":"{datetime.now(UTC).isoformat()}","user_id":1}}\n')
    with pytest.raises(MappingError, match="event-types register sneeze"):
        send.run(path, Mapping(constants={"event": "sneeze"}), settings, topic="never_made")
