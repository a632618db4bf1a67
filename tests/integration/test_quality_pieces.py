"""Audits and metrics piece by piece: what is cut short, broken, or of long ago."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from minio.error import MinioException
from tests.integration.quality_bed import HOUR, NOW, Warehouse, minutes, verdicts

from millrace.quality import anomalies, audit, docs, hours, publication, suites
from millrace.quality.model import Finding
from millrace.quality.suites import load_suites
from millrace.quality.windows import window_at, windows_between
from millrace.settings import Settings
from millrace.stores import postgres


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites of the test's own, beside those of ``events``."""
    own_folder = tmp_path / "expectations"
    (own_folder / "base").mkdir(parents=True)
    events = suites.FOLDER / "base" / "events.yaml"
    (own_folder / "base" / "events.yaml").write_bytes(events.read_bytes())
    monkeypatch.setattr(suites, "FOLDER", own_folder)
    return own_folder


SUITE = """
dataset: raw_events
relation: raw_events
time_column: ingested_at
publishes: false
windows: [5m]
expectations:
  - expect: %s
    description: It holds.
    otherwise: It fails.
    query: "SELECT 1 FROM {batch} WHERE 0"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: [", "while parsing"),
        ("dataset: mine", "relation"),
        ("- just\n- a list", "no suite"),
        ("dataset: mine\nrelatoin: events", "relatoin"),
        (SUITE.replace("It fails.", "It holds.") % "ExpectNoRows", "what is so when it does not"),
        (SUITE.replace("    otherwise: It fails.\n", "") % "ExpectNoRows", "otherwise"),
    ],
)
def test_a_file_that_is_broken_stops_no_other(
    folder: Path, warehouse: Warehouse, own_settings: Settings, text: str, said: str
) -> None:
    (folder / "base" / "zz_mine.yaml").write_text(text)
    warehouse.load(minutes(0))
    window = window_at("5m", HOUR.start)
    audits = audit.audit_window(own_settings, window)
    assert [one.dataset for one in audits] == ["events"]
    assert verdicts(own_settings, window) == {"events": ("published", "")}
    with pytest.raises(audit.QualityError, match=r"expectations/base/zz_mine.yaml") as told:
        audit.demand(audits)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (SUITE % "ExpectNoRowz", "ExpectNoRowz"),
        (SUITE.replace("ingested_at", "no_such_column") % "ExpectNoRows", "no_such_column"),
        (SUITE.replace("SELECT 1", "SELECT nothing_like_it") % "ExpectNoRows", "nothing_like_it"),
    ],
    ids=["unknown expectation", "unknown time column", "unknown column in a query"],
)
def test_an_expectation_that_can_not_be_checked_fails_alone(
    folder: Path, warehouse: Warehouse, own_settings: Settings, suite: str, said: str
) -> None:
    (folder / "base" / "zz_mine.yaml").write_text(suite)
    warehouse.load(minutes(0))
    window = window_at("5m", HOUR.start)
    audits = {one.dataset: one for one in audit.audit_window(own_settings, window)}
    assert not audits["events"].failures
    assert verdicts(own_settings, window)["events"] == ("published", "")
    (failure,) = audits["raw_events"].failures
    assert said in failure.observed["error"]
    assert not failure.is_checked
    page = docs.read(own_settings, audits["raw_events"].report)[0].decode()
    assert "Nothing says that the data is wrong" in page
    assert "It fails." not in page
    for table, column, value in (("audits", "unchecked", 1), ("results", "is_checked", False)):
        kept = warehouse.client.query(
            f"SELECT DISTINCT {column} FROM quality_{table} WHERE dataset = 'raw_events'"
            " AND checked_at = (SELECT max(checked_at) FROM quality_audits"
            " WHERE dataset = 'raw_events')"
        )
        assert kept.result_rows == [(value,)]


def test_what_is_made_from_what_nobody_judges_is_withheld(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    mine = folder / "base" / "zz_mine.yaml"
    text = SUITE.replace("publishes: false", "publishes: true\nmade_from: [evnets]")
    window = window_at("5m", HOUR.start)
    warehouse.load(minutes(0))
    mine.write_text(text % "ExpectNoRows")
    audit.audit_window(own_settings, window)
    assert verdicts(own_settings, window)["raw_events"] == (
        "withheld", "made from withheld evnets",
    )  # fmt: skip
    mine.write_text(text.replace("evnets", "events") % "ExpectNoRows")
    audit.audit_window(own_settings, window, "events")
    assert verdicts(own_settings, window)["raw_events"] == ("published", "")
    warehouse.client.command("DROP VIEW published.raw_events")


OF_TWO_COLUMNS = """
dataset: raw_events
relation: raw_events
time_column: ingested_at
publishes: false
windows: [5m]
expectations:
  - expect: ExpectColumnPairValuesToBeEqual
    description: Partitions count.
    otherwise: Partitions do not count.
    column_A: offset
    column_B: partition
"""
BEYOND_THE_LIBRARY = """
dataset: addresses
relation: "(SELECT toIPv4('10.0.0.1') AS address)"
publishes: false
windows: [5m]
expectations:
  - expect: ExpectColumnValuesToBeInSet
    description: It is another.
    otherwise: It is no other.
    column: address
    value_set: ["10.0.0.2"]
"""


def test_what_the_library_gives_in_another_form_stops_no_other(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    (folder / "base" / "zz_mine.yaml").write_text(OF_TWO_COLUMNS)
    (folder / "base" / "zz_other.yaml").write_text(BEYOND_THE_LIBRARY)
    warehouse.load(minutes(0))
    window = window_at("5m", HOUR.start)
    audits = {one.dataset: one for one in audit.audit_window(own_settings, window)}
    assert not audits["events"].failures
    assert verdicts(own_settings, window)["events"] == ("published", "")
    (failure,) = audits["raw_events"].failures
    assert failure.examples == [{"offset": "1", "partition": "0"}]
    (failure,) = audits["addresses"].failures
    assert not failure.is_success


def test_a_time_column_that_is_gone_stops_no_other(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    suite = SUITE.replace("ingested_at", "no_such_column").replace("false", "true")
    (folder / "base" / "zz_mine.yaml").write_text(suite % "ExpectNoRows")
    warehouse.load(minutes(0, 5, 10))
    made = audit.audit_closed(own_settings, HOUR.start + timedelta(minutes=16))
    events = {one.window.start for one in made if one.dataset == "events" and not one.failures}
    assert events >= set(minutes(0, 5, 10))
    (failed,) = [one for one in made if one.dataset == "raw_events"]
    assert "no_such_column" in failed.failures[0].observed["error"]
    assert failed.window.start == minutes(10)[0]


def test_verdicts_stand_while_object_storage_is_away(
    folder: Path, warehouse: Warehouse, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_settings: Settings, _pages: object) -> int:
        raise MinioException("the bucket is away")

    warehouse.load(minutes(0, 5, 10))
    now = HOUR.start + timedelta(minutes=16)
    with monkeypatch.context() as patch:
        patch.setattr(docs, "upload", refuse)
        with pytest.raises(MinioException):  # nobody sees the overview: somebody is to hear of it
            audit.audit_closed(own_settings, now)
    for moment in minutes(0, 5, 10):
        assert verdicts(own_settings, window_at("5m", moment))["events"][0] == "published"
    again = audit.audit_closed(own_settings, now)
    assert not [one for one in again if one.window.kind == "5m" and one.dataset == "events"]


def test_what_could_not_be_checked_is_tried_again(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    window = window_at("5m", NOW - timedelta(hours=3))  # no longer caught up on
    warehouse.load([window.start])
    (suite,) = load_suites()
    (made,) = audit.audit_window(own_settings, window)
    assert not made.failures
    at = NOW - timedelta(hours=2)  # the server was away then
    error = Finding("It holds.", "It fails.", "critical", False, {"error": "connection reset"})
    lost = replace(made, checked_at=at, findings=[error])
    with postgres.connect(own_settings) as connection:
        publication.publish(connection, suite, lost)
    warehouse.client.command("TRUNCATE TABLE quality_audits SYNC")
    warehouse.write(
        "quality_audits",
        [
            {
                "dataset": "events", "window_kind": "5m", "window_start": window.start,
                "window_end": window.end, "failures": 1, "warnings": 0, "unchecked": 1,
                "report": "", "covers_until": at, "checked_at": at,
            }
        ],
    )  # fmt: skip
    assert verdicts(own_settings, window)["events"][0] == "withheld"
    assert window in [one.window for one in audit.audit_closed(own_settings)]
    assert verdicts(own_settings, window)["events"] == ("published", "")
    assert window not in [one.window for one in audit.audit_closed(own_settings)]


def test_a_range_keeps_what_it_had_settled_when_it_is_cut_short(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    warehouse.load(minutes(0, 5, 10))
    windows = windows_between("5m", HOUR.start + timedelta(minutes=2), minutes(15)[0])
    assert [window.start for window in windows] == minutes(0, 5, 10)
    settled = audit.audit_range(own_settings, windows, "events")
    window, (one,) = next(settled)
    assert (window, one.failures) == (windows[2], [])
    settled.close()
    assert verdicts(own_settings, windows[2])["events"] == ("published", "")
    assert verdicts(own_settings, windows[0]) == {}
    list(audit.audit_range(own_settings, windows[:2], "events"))
    assert verdicts(own_settings, windows[0])["events"] == ("published", "")


def ledger_covers(settings: Settings, moment: datetime) -> None:
    """Have the ledger say that all is loaded until then, by a claim under way since."""
    with postgres.connect(settings) as connection:
        connection.execute("DELETE FROM ingest_batches")
        connection.execute(
            "INSERT INTO ingest_batches (source_id, gate_id, owner, claimed_at) "
            "VALUES ('test', 1, 'test', %s)",
            [moment],
        )


def test_audits_that_are_cut_short_keep_the_newest_windows(
    folder: Path,
    warehouse: Warehouse,
    own_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour = window_at("1h", NOW - timedelta(hours=2))
    now = hour.end + timedelta(minutes=5)
    times = [hour.start + timedelta(minutes=n) for n in (1, 21, 41)]
    warehouse.load(times, received_at=times[0], ingested_at=times[0])
    ledger_covers(own_settings, now)
    publish = publication.publish
    left = iter(range(2))

    def cut(*arguments: object) -> None:
        if next(left, None) is None:
            raise TimeoutError("the task's time is up")
        publish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(publication, "publish", cut)
        with pytest.raises(TimeoutError):
            audit.audit_closed(own_settings, now)
    kept = [times[2] + timedelta(minutes=14), times[2]]
    for moment in kept:
        assert verdicts(own_settings, window_at("5m", moment))["events"][0] == "published"
    (seen,) = warehouse.client.query("SELECT count() FROM published.events").first_row
    assert seen == 1
    again = [one.window for one in audit.audit_closed(own_settings, now)]
    assert not {window_at("5m", moment) for moment in kept} & set(again)
    assert {window_at("5m", moment) for moment in times[:2]} < set(again)


def test_hours_that_are_cut_short_keep_what_was_judged(
    warehouse: Warehouse, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_covers(own_settings, NOW - timedelta(hours=3))
    hours.judge_closed(own_settings, NOW - timedelta(hours=2))
    old = [window_at("1h", NOW - timedelta(days=days)) for days in range(10, 15)]
    times = [hour.start + timedelta(minutes=1) for hour in old]
    came = NOW - timedelta(hours=2)
    warehouse.load(times, received_at=came, ingested_at=came)
    ledger_covers(own_settings, NOW)
    find = anomalies.find
    judged = []

    def cut(*arguments: object) -> int:
        if len(judged) == 3:
            raise TimeoutError("the task's time is up")
        judged.append(arguments[1])
        return find(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(anomalies, "find", cut)
        with pytest.raises(TimeoutError):
            hours.judge_closed(own_settings, NOW)
    rest = hours.judge_closed(own_settings, NOW)
    assert not set(judged) & set(rest)
    assert set(old) <= {*judged, *rest}
    assert hours.judge_closed(own_settings, NOW) == []


def test_silence_is_a_finding_from_the_first_message_on(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    def audited(minute: int) -> list[tuple[datetime, list[str]]]:
        """Return the starts and warnings of what is audited some minutes after the hour."""
        made = audit.audit_closed(own_settings, HOUR.end + timedelta(minutes=minute))
        return [(one.window.start, [found.statement for found in one.warnings]) for one in made]

    warehouse.client.command("DROP VIEW IF EXISTS published.events")
    assert audited(6) == []
    assert warehouse.client.query("SELECT count() FROM published.events").first_row == (0,)
    assert "No data yet" in (docs.site(own_settings) / docs.FRONT_PAGE).read_text()
    first, silent = (HOUR.end + timedelta(minutes=minute) for minute in (6, 10))
    warehouse.load([first], received_at=first, ingested_at=first)
    assert audited(11) == [(first - timedelta(minutes=1), [])]
    assert "No data yet" not in (docs.site(own_settings) / docs.FRONT_PAGE).read_text()
    assert audited(16) == [(silent, ["No events came in for this time."])]


def test_imported_history_is_judged_by_the_day_and_published(
    folder: Path, warehouse: Warehouse, own_settings: Settings
) -> None:
    start = NOW.replace(hour=12, minute=0)
    warehouse.load([start - timedelta(days=2)], ingested_at=start - timedelta(days=2))
    ledger_covers(own_settings, NOW - timedelta(days=1))
    audit.audit_closed(own_settings, NOW - timedelta(days=1))
    times = [start - timedelta(days=days) for days in (20, 21, 40)]
    warehouse.load(times, ingested_at=NOW - timedelta(minutes=1))
    ledger_covers(own_settings, NOW)
    audits = audit.audit_closed(own_settings, NOW + timedelta(hours=26))
    days = [window_at("1d", moment) for moment in times]
    assert set(days) <= {one.window for one in audits if one.dataset == "events"}
    for day in days:
        assert verdicts(own_settings, day)["events"] == ("published", "")
    (seen,) = warehouse.client.query(
        "SELECT count() FROM published.events WHERE toDate(event_time) < today() - 10"
    ).first_row
    assert seen == 3


def test_the_suites_of_the_project_can_all_be_read() -> None:
    assert suites.faults() == []
    assert len(load_suites()) > 20
