"""Files of people, imported: the warehouse agrees with the file, and the import says so."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.helpers.dying_producer import CrashError, dying
from tests.integration.ingest_bed import Bed

from millrace.imports import arrivals, send
from millrace.imports.arrivals import Fate
from millrace.imports.mapping import Mapping, MappingError
from millrace.imports.records import FileError
from millrace.imports.request import Request
from millrace.settings import Settings

FLIGHTS = Path(__file__).parents[1] / "data" / "flights" / "flights-slice.parquet"
MAPPING = Mapping(
    columns={"timestamp": "date"},
    constants={"event": "flight", "country": "US"},
    hashed={"user_id": ["origin", "destination"]},
)


def now(**ago: float) -> str:
    """Return a time as a file has it."""
    return (datetime.now(UTC) - timedelta(**ago)).isoformat(timespec="milliseconds")


class Importer:
    """A source of its own, into whose topic files are imported."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.bed = Bed(settings)
        self.folder = folder

    def write(self, name: str, content: str | bytes) -> Path:
        """Make a file."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def send(self, path: Path, mapping: Mapping | None = None, **options: Any) -> send.Outcome:
        """Import a file, without waiting for it."""
        is_dry = options.pop("is_dry", False)
        request = Request(path, mapping or Mapping(), self.bed.name, **options)
        return send.run(request, self.bed.settings, is_dry=is_dry)

    def fate(self, outcome: send.Outcome) -> Fate:
        """Load what was sent, and ask what became of it."""
        self.bed.load()
        return arrivals.wait(outcome, self.bed.settings)

    def events(self, columns: str = "user_id") -> list[tuple[Any, ...]]:
        """Return the source's events."""
        return self.bed.query(
            f"SELECT {columns} FROM events WHERE source_id = {{source}} ORDER BY user_id"
        )


@pytest.fixture
def importer(settings: Settings, tmp_path: Path) -> Importer:
    """A source of its own."""
    return Importer(settings, tmp_path)


def test_flights_per_day_and_airport_agree_with_the_file(importer: Importer) -> None:
    first_day = (datetime.now(UTC) - timedelta(days=80)).date()
    outcome = importer.send(FLIGHTS, MAPPING, shift_to=first_day)
    table = pq.read_table(FLIGHTS)
    assert importer.fate(outcome) == Fate(loaded=table.num_rows, known=0)

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
        for day, airport, flights, delay in importer.bed.query(
            "SELECT toString(toDate(event_time)), properties['origin'], count(), "
            "sum(toInt64(properties['delay'])) FROM events WHERE source_id = {source} GROUP BY 1, 2"
        )
    }
    assert found == expected

    copy = importer.write("another-name.parquet", FLIGHTS.read_bytes())
    again = importer.send(copy, MAPPING, shift_days=outcome.job.shift.days)
    assert again.sent == 0
    assert importer.fate(again) == Fate(loaded=0, known=table.num_rows)
    assert importer.bed.count("raw_events") == table.num_rows


def test_equal_rows_count_as_often_as_they_are_there(importer: Importer) -> None:
    row = f"click,{now(hours=1)},7\n"
    header = "event,timestamp,user_id\n"
    path = importer.write("x.csv", header + 3 * row)
    assert importer.fate(importer.send(path)) == Fate(loaded=3, known=0)
    more = importer.write("y.csv", header + 4 * row)
    assert importer.fate(importer.send(more)) == Fate(loaded=1, known=3)


def test_rows_that_were_good_count_once_when_the_others_are_mended(importer: Importer) -> None:
    at = now(days=3)
    good = f"click,{at},7,a\n"
    path = importer.write("x.csv", f"event,timestamp,user_id,note\n{good}click,{at},8\n")
    first = importer.send(path)
    assert importer.fate(first) == Fate(loaded=1, known=0)
    assert [(bad.line, bad.reason) for bad in first.found.examples] == [
        (3, "has 3 columns, the header has 4")
    ]
    # As after a week: nobody remembers the ids that came then.
    importer.bed.query("ALTER TABLE event_id_register DELETE WHERE event_hash != 0")

    mended = first.found.mend
    assert mended is not None
    text = mended.read_text()
    assert text == f"event,timestamp,user_id,note\nclick,{at},8\n"
    mended.write_text(text.replace(",8", ",8,b"))
    assert importer.fate(importer.send(mended)) == Fate(loaded=1, known=0)

    whole = importer.write("x.csv", path.read_text().replace(",8\n", ",8,b\n"))
    assert importer.fate(importer.send(whole)) == Fate(loaded=0, known=2)
    assert importer.events("user_id, properties['note']") == [(7, "a"), (8, "b")]


def test_an_interrupted_import_goes_on_and_counts_once(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now(minutes=1)
    path = importer.write(
        "clicks.ndjson",
        "".join(f'{{"event":"click","timestamp":"{at}","user_id":{n}}}\n' for n in range(1, 501)),
    )
    monkeypatch.setattr(send, "CHECKPOINT_ROWS", 100)
    with dying(monkeypatch, last=350, is_sent=False), pytest.raises(CrashError):
        importer.send(path)
    with pytest.raises(MappingError, match="was begun with another mapping"):
        importer.send(path, Mapping(zone="America/New_York"))
    outcome = importer.send(path)
    assert (outcome.resumed_after, outcome.sent) == (300, 500)
    assert importer.fate(outcome) == Fate(loaded=500, known=0)
    importer.bed.assert_conserved(messages=549, events=500)
    assert importer.bed.reasons() == {"duplicate_event_id": 49}


def test_bad_rows_are_reported_and_the_others_arrive(importer: Importer) -> None:
    lines = ["when,who,amount", f"{now()},7,12.50", "someday,8,1", f"{now()},,3", f"{now()},9"]
    lines += [f"{now(days=4_000)},10,1", f"{now(days=-2)},11,1"]
    path = importer.write("orders.csv", "\n".join(lines))
    mapping = Mapping(
        columns={"timestamp": "when", "user_id": "who"}, constants={"event": "purchase"}
    )
    outcome = importer.send(path, mapping)
    assert (outcome.found.rows, outcome.sent, outcome.found.bad) == (6, 1, 5)
    assert importer.fate(outcome) == Fate(loaded=1, known=0)
    assert outcome.found.report is not None
    with outcome.found.report.open() as file:
        assert list(csv.reader(file)) == [
            ["line", "reason"],
            ["3", "timestamp 'someday' is no ISO 8601 time"],
            ["4", "user_id is empty"],
            ["5", "has 2 columns, the header has 3"],
            ["6", "event_too_old: its time would be rejected"],
            ["7", "event_in_future: its time would be rejected"],
        ]
    assert importer.events("user_id, properties['amount']") == [(7, "12.50")]


def test_rejected_rows_are_told_with_their_lines(importer: Importer) -> None:
    at = now()
    lines = ["event,timestamp,user_id,country", f"click,{at},1,NO", f"sneeze,{at},2,NO"]
    lines += [f'click,{at},3,"Nor\nway"', f"click,{at},0,NO"]
    path = importer.write("x.csv", "\n".join(lines))

    dry = importer.send(path, is_dry=True)
    assert {label: tally.lines for label, tally in dry.found.rejected.items()} == {
        "unknown_event_type|event|event_type_registered": [3],
        "invalid_value|country|country_code": [4],
        "invalid_type|user_id|contract": [6],
    }
    assert dry.sent == 4
    assert importer.bed.ask("SELECT 1 FROM file_imports WHERE topic = %s", importer.bed.name) == []

    fate = importer.fate(importer.send(path))
    assert importer.bed.count("raw_events") == 4
    assert (fate.loaded, fate.known, fate.missing) == (1, 0, 0)
    assert {reason: (tally.rows, tally.lines) for reason, tally in fate.rejected.items()} == {
        "unknown_event_type": (1, [3]),
        "invalid_value": (1, [4]),
        "invalid_type": (1, [6]),
    }


def test_a_row_at_which_the_gate_fails_is_told_alone(importer: Importer) -> None:
    poison = "throwIf(position(value, '/poison') > 0, 'can''t be computed')"
    importer.bed.ask(
        "UPDATE gates SET statement = statement || %s, definition = jsonb_set(definition, "
        "'{is_broken}', to_jsonb(format('(%%s) OR %%s', definition ->> 'is_broken', %s::text))) "
        "WHERE source_id = %s",
        "\nWHERE NOT throwIf(page = '/poison', 'can''t be computed')",
        poison,
        importer.bed.name,
    )
    pages = ["/", "/a", "/poison", "/b", "/c"]
    rows = "".join(f"click,{now()},{n},{page}\n" for n, page in enumerate(pages, 1))
    outcome = importer.send(importer.write("x.csv", "event,timestamp,user_id,page\n" + rows))
    assert {label: tally.lines for label, tally in outcome.found.rejected.items()} == {
        "unprocessable||gate": [4]
    }
    fate = importer.fate(outcome)
    assert (fate.loaded, fate.rejected["unprocessable"].lines) == (4, [4])


def test_a_files_own_ids_are_known_however_they_are_spelt(importer: Importer) -> None:
    first = "6F4CBB1A-33A0-5D8D-9C5E-1B0F3F1F3C52"
    rows = f"click,{now(hours=2)},1,{first}\nclick,{now()},2,order 7\n"
    path = importer.write("x.csv", "event,timestamp,user_id,event_id\n" + rows)
    outcome = importer.send(path)
    fate = importer.fate(outcome)
    assert (fate.loaded, fate.rejected["invalid_type"].lines) == (1, [3])
    again = importer.send(importer.write("y.csv", path.read_text().replace(first, first.lower())))
    assert (again.sent, again.known) == (1, 1)
    only = importer.write("z.csv", path.read_text().replace(first, "order 6"))
    with pytest.raises(MappingError, match="--hash event_id=COLUMN"):
        importer.send(only)


def test_a_file_of_bad_rows_only_is_told_like_any_other(importer: Importer) -> None:
    path = importer.write("x.csv", 'event,timestamp,user_id\nclick\nclick,"open\n')
    outcome = importer.send(path)
    assert [bad.line for bad in outcome.found.examples] == [2, 3]
    assert importer.fate(outcome) == Fate(loaded=0, known=0)


def test_what_would_all_be_rejected_is_not_sent(importer: Importer) -> None:
    with pytest.raises(MappingError, match="MILLRACE_EVENTS_RETENTION_DAYS"):
        importer.send(FLIGHTS, MAPPING)
    path = importer.write("x.ndjson", f'{{"timestamp":"{now()}","user_id":1}}\n')
    with pytest.raises(MappingError, match="event-types register"):
        importer.send(path, Mapping(constants={"event": "sneeze"}))
    assert importer.bed.load() == 0


def test_a_topic_that_nobody_reads_is_refused_with_the_list(importer: Importer) -> None:
    path = importer.write("x.ndjson", f'{{"event":"click","timestamp":"{now()}","user_id":1}}\n')
    message = f"no source reads topic 'nosuch'.*{importer.bed.name}"
    with pytest.raises(MappingError, match=message):
        send.run(Request(path, Mapping(), "nosuch"), importer.bed.settings)


def test_nothing_is_sent_of_a_file_that_cannot_be_read_to_its_end(importer: Importer) -> None:
    rows = [f'{{"event":"click","timestamp":"{now()}","user_id":{n}}}' for n in range(1, 100)]
    path = importer.write("x.json", "[" + ",".join(rows))
    with pytest.raises(FileError, match="cut off"):
        importer.send(path)
    assert importer.bed.load() == 0


def test_a_file_and_its_message_say_the_same(importer: Importer) -> None:
    fields = [
        '"order_id":36893488147419103233,"price":12345678901234567.89,"exact":1.50',
        '"a":1,"a":2',
        '"a":{"b":1,"b":2,"c":[1.0,1e2]}',
        r'"a":"\ud83d\ude00 \u00e9"',
        '"a":1e400,"b":-0,"c":true,"d":null,"e":[]',
        '"device_info":{"os":"x","os":"y","n":9007199254740993}',
        '"device_info":"iPhone 15","geo_location":[52.5,13.4]',
        r'"a":"x\u0000y"',
        r'"a":"\ud800"',
    ]  # fmt: skip
    lines = [
        f'{{"event":"click","timestamp":"{now()}","user_id":{n},{text}}}'
        for n, text in enumerate(fields, 1)
    ]
    by_message = Importer(importer.bed.settings, importer.folder)
    ids = [f"00000000-0000-4000-8000-{datetime.now(UTC):%d%H%M%S}{n:04}" for n in range(len(lines))]
    with_ids = zip(lines, ids, strict=True)
    by_message.bed.send([f'{{"event_id":"{one}",{line[1:]}'.encode() for line, one in with_ids])
    by_message.bed.load()
    switch_on = "UPDATE data_sources SET is_active = true WHERE source_id = %s"
    importer.bed.ask(switch_on, importer.bed.name)
    outcome = importer.send(importer.write("x.ndjson", "\n".join(lines)))
    importer.fate(outcome)
    columns = "user_id, properties, device_info, geo_location, warnings"
    assert importer.events(columns) == by_message.events(columns)
    assert importer.bed.reasons() == by_message.bed.reasons()
