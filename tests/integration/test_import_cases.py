"""Files that other tools' users lost data with, through the command: exit code, words and rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.integration.ingest_bed import Bed
from tests.integration.test_imports import now
from typer.testing import CliRunner

from millrace.cli.main import app
from millrace.settings import Settings


@dataclass
class Command:
    """``./millrace import`` into a topic of its own, while ingest runs beside it."""

    bed: Bed
    folder: Path

    def run(self, name: str, *options: str, text: str = "", code: int = 0) -> str:
        """Import a file, made of ``text`` if that is given; return what the command said."""
        path = self.folder / name
        if text:
            path.write_text(text.replace("@NOW@", now()))
        arguments = ["import", str(path), "--topic", self.bed.name, *options]
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
        assert done.exit_code == code, done.output
        return done.output

    def events(self, columns: str = "user_id") -> list[tuple[object, ...]]:
        """Return the topic's events."""
        where = "WHERE source_id = {source} ORDER BY user_id"
        return self.bed.query(f"SELECT {columns} FROM events {where}")


@pytest.fixture
def command(settings: Settings, tmp_path: Path) -> Iterator[Command]:
    bed = Bed(settings)
    is_over = threading.Event()

    def ingest() -> None:
        while not is_over.is_set():
            bed.load()
            is_over.wait(0.05)

    thread = threading.Thread(target=ingest)
    thread.start()
    yield Command(bed, tmp_path)
    is_over.set()
    thread.join()


def test_a_quote_never_closed_in_the_last_column(command: Command) -> None:
    notes = ["fine", '"never closed', "c", "d", "e", "f"]
    rows = "".join(f"click,@NOW@,{n},{note}\n" for n, note in enumerate(notes, 1))
    said = command.run("x.csv", text="event,timestamp,user_id,note\n" + rows, code=1)
    assert "6 rows in x.csv" in said
    assert "5 loaded" in said
    assert "line 3: its quote is never closed" in said
    assert command.events("user_id, properties['note']") == [
        (1, "fine"), (3, "c"), (4, "d"), (5, "e"), (6, "f"),
    ]  # fmt: skip


def test_a_quote_never_closed_in_the_first_column(command: Command) -> None:
    rows = 'fine,click,@NOW@,1\n"never closed,click,@NOW@,2\nc,click,@NOW@,3\n'
    said = command.run("x.csv", text="note,event,timestamp,user_id\n" + rows, code=1)
    assert "line 3: its quote is never closed" in said
    assert command.events("user_id, properties['note']") == [(1, "fine"), (3, "c")]


def test_a_file_of_tabs_whose_quote_marks_are_inches(command: Command) -> None:
    sizes = ["15", '"17', "19"]
    rows = "".join(f"click\t@NOW@\t{n}\t{size}\n" for n, size in enumerate(sizes, 1))
    said = command.run("inches.tsv", text="event\ttimestamp\tuser_id\tsize\n" + rows, code=1)
    assert "line 3: its quote is never closed" in said
    assert "give --no-quotes" in said
    (mend,) = (command.bed.settings.home / "imports").glob("inches.*.bad_rows.tsv")
    assert "1 loaded" in command.run(str(mend), "--no-quotes")
    assert command.events("user_id, properties['size']") == [(1, "15"), (2, '"17'), (3, "19")]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_the_first_and_last_day_of_time(command: Command, zone: str) -> None:
    times = ["@NOW@", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-14:00"]
    times += ["0001-01-01 00:00:00", "9999-12-31 23:59:59", "@NOW@"]
    rows = "".join(f"click,{time},{n}\n" for n, time in enumerate(times, 1))
    said = command.run("x.csv", "--zone", zone, text="event,timestamp,user_id\n" + rows, code=1)
    for line in range(3, 7):
        assert f"line {line}: timestamp '{times[line - 2]}' is out of range" in said
    assert command.events() == [(1,), (6,)]


def test_parquet_text_without_its_mark(command: Command) -> None:
    table = {"event": b"flight", "timestamp": now().encode(), "user_id": 1, "page": b"/a"}
    pq.write_table(
        pa.table({name: [value] for name, value in (table | {"origin": b"JFK"}).items()}),
        command.folder / "x.parquet",
    )
    assert "1 loaded" in command.run("x.parquet")
    columns = "event_type, page, properties['origin']"
    assert command.events(columns) == [("flight", "/a", "JFK")]


def test_an_import_that_sent_nothing_is_not_done(command: Command) -> None:
    rows = "".join(f"@NOW@,{n},,{n}.50\n" for n in range(1, 4))
    text = "timestamp,customer,client,amount\n" + rows
    options = ("--set", "event=purchase")
    said = command.run("orders.csv", "--map", "user_id=client", *options, text=text, code=1)
    assert "0 loaded" in said
    assert "3 bad, not sent" in said
    assert "3 bad" in command.run("orders.csv", "--map", "user_id=client", *options, code=1)
    assert "3 loaded" in command.run("orders.csv", "--map", "user_id=customer", *options)
    assert "3 already there" in command.run("orders.csv", "--map", "user_id=customer", *options)
    said = command.run("orders.csv", "--map", "user_id=amount", *options, code=2)
    assert "was imported with another mapping" in said
    assert "--again" in said
    assert command.events() == [(1,), (2,), (3,)]


def test_norway_is_a_country(command: Command) -> None:
    mapping = command.folder / "norway.yaml"
    mapping.write_text("set: { event: flight, country: NO }\n")
    said = command.run("x.csv", "--mapping", str(mapping), text="timestamp,user_id\n@NOW@,1\n")
    assert "1 loaded" in said
    assert command.events("country") == [("NO",)]


def test_norway_is_a_country_in_rules_and_times_are_times(command: Command) -> None:
    rules = {"countries": "check: allowed_values, field: market, values: [DE, NO, SE]"}
    rules["times"] = "check: time_range, field: at, min: 2026-01-01T00:00:00Z"
    path = command.folder / "rules.yaml"
    entry = "- {{name: case_{}, rule_type: validation, source_id: {}, config: {{{}}}}}\n"
    path.write_text("".join(entry.format(n, command.bed.name, c) for n, c in rules.items()))
    done = CliRunner().invoke(app, ["rules", "add", str(path), "--hours", "0"])
    assert done.exit_code == 0, done.output
    text = "event,timestamp,user_id,market,at\nclick,@NOW@,1,NO,2026-02-01T00:00:00Z\n"
    said = command.run("x.csv", text=text + "click,@NOW@,2,no,2025-02-01T00:00:00Z\n", code=1)
    assert "1 loaded" in said
    assert "1 rejected: invalid_value (line 3)" in said


def test_columns_of_one_name(command: Command) -> None:
    twice = "event,timestamp,user_id,note,note\nclick,@NOW@,1,first,second\n"
    assert "names the column 'note' 2 times" in command.run("x.csv", text=twice, code=2)
    users = "event,timestamp,user_id,user_id\nclick,@NOW@,1,2\n"
    assert "names the column 'user_id' 2 times" in command.run("y.csv", text=users, code=2)
    assert command.events() == []


def test_long_numbers_keep_their_digits(command: Command) -> None:
    text = '{"event":"click","timestamp":"@NOW@","user_id":1,"order_id":36893488147419103233}\n'
    command.run("long.ndjson", text=text)
    assert command.events("properties['order_id']") == [("36893488147419103233",)]


def test_a_dry_run_and_an_import_that_is_not_waited_for(command: Command) -> None:
    text = "event,timestamp,user_id\nclick,@NOW@,1\nsneeze,@NOW@,2\nclick,2001-01-01T00:00:00Z,3\n"
    said = command.run("x.csv", "--dry-run", text=text, code=1)
    assert "2 would be sent" in said
    assert "1 of them would be rejected: unknown_event_type" in said
    assert "(line 3)" in said
    assert "line 4: event_too_old" in said
    assert "2 sent" in command.run("x.csv", "--no-wait", code=1)
    assert "rejected: unknown_event_type (line 3)" in command.run("x.csv", code=1)
    assert command.events() == [(1,)]


def test_a_topic_that_nobody_reads(command: Command) -> None:
    text = "event,timestamp,user_id\nclick,@NOW@,1\n"
    said = command.run("x.csv", "--topic", "nosuch", text=text, code=2)
    assert "no source reads topic 'nosuch'" in said
    assert command.bed.name in said
