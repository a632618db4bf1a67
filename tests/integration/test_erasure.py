"""A person is erased: from tables, copies, files, and from whatever would bring them back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from tests.integration import exports_bed
from tests.integration.erasure_bed import MAIL, files_with, holders
from tests.integration.ingest_bed import Bed, event

from millrace.backups import wal
from millrace.exports import definitions, service
from millrace.exports.definitions import ExportError, PersonalData
from millrace.ingest import rebuild as rebuilding
from millrace.ingest.warehouse import Warehouse
from millrace.lab import stacks
from millrace.lab.chaos import disaster
from millrace.quality import docs
from millrace.rules import drift, hits, replay
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, objects, postgres
from millrace.usecases import erase_person

USER, OTHER = 900_021, 900_022


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, with the store of backups, where receipts are kept."""
    with stacks.running(tmp_path_factory.mktemp("erasure"), with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
        started.wait_healthy("backup_gateway")
        definitions.apply(started.settings)
        yield started


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return stack.settings


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def erase(settings: Settings, user: int = USER) -> dict[str, Any]:
    return erase_person.erase(settings, user, "a test", "on request")


def sent(user: int, **fields: Any) -> dict[str, Any]:
    return event(user, **({"mail": MAIL} if user == USER else {}), **fields)


def test_copies_that_features_keep_are_found(bed: Bed) -> None:
    settings = bed.settings
    long = {"first": "x" * 600, **sent(USER, country="usa")}  # the id is beyond where it is cut
    bed.send([sent(OTHER), sent(OTHER), sent(USER), sent(USER, country="usa"), long])
    bed.send([sent(USER, event="unheard_of"), sent(USER, new=MAIL), sent(OTHER, country="usa")])
    bed.load()
    later = datetime.now(UTC) + timedelta(minutes=5)
    drift.record(settings)  # what it sees first is the schema
    bed.send([sent(USER, newer=f"of {MAIL}"), sent(OTHER, newer="theirs")])
    bed.load()
    hits.count_closed(settings, later)
    drift.record(settings)
    shown = replay.preview(
        settings,
        replay.Criteria(source_id=bed.name),
        [{"transform": "map", "field": "country", "values": {"usa": "US"}}],
    )
    assert shown
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO user_profiles (user_id, attributes) VALUES (%s, %s) "
            "ON CONFLICT (user_id) DO UPDATE SET attributes = excluded.attributes",
            [USER, json.dumps({"mail": MAIL})],
        )
        connection.execute(  # more than a statement can bind, as the trail of gates soon is
            "INSERT INTO audit_logs (table_name, row_key, action, new_value, changed_by) "
            "SELECT 'gates', '1', 'UPDATE', jsonb_build_object('statement', "
            "repeat('SELECT ', 40000)), 'a test'"
        )
    before = holders(settings)
    assert {"millrace.rule_hits", "schema_drifts", "replays", "audit_logs"} <= set(before)
    others = bed.query(f"SELECT count() FROM events WHERE user_id = {OTHER}")

    receipt = erase(settings)

    assert holders(settings) == []
    assert receipt["deleted_rows"]["user_profiles"] == 1
    assert bed.query(f"SELECT count() FROM events WHERE user_id = {OTHER}") == others
    (drifted,) = bed.ask("SELECT examples FROM schema_drifts WHERE field = 'newer'")
    assert drifted["examples"] == ["theirs"]


def test_a_text_is_erased_with_its_reports_and_files_for_people_are_named(bed: Bed) -> None:
    settings, text = bed.settings, "ada@example.org"
    user = erase_person.user_id_of(settings, text)
    bed.send([event(user), event(OTHER)])
    bed.load()
    now = datetime.now(UTC)
    quoted = {"quoted": user, "shown": OTHER, "theirs": OTHER}
    pages = {name: f"reports/{now:%Y-%m-%d}/{name}.html" for name in quoted}
    for name, page in pages.items():
        path = docs.site(settings) / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"user_id = {user if name == 'shown' else OTHER}")
        found = json.dumps({"examples": [{"user_id": quoted[name]}]})
        with clickhouse.connect(settings) as client:
            client.insert(
                "quality_results",
                [["events", "1h", now, now, False, True, found, page, now]],
                column_names=[
                    *("dataset", "window_kind", "window_start", "window_end", "is_success"),
                    *("is_checked", "observed", "report", "checked_at"),
                ],
            )
    docs.upload(settings, [docs.site(settings) / page for page in pages.values()])
    files = [
        settings.home / "imports" / "a.bad_rows.csv",
        settings.home / "ingestion" / "spool" / "refused.jsonl",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"id,user\n1,{text}\n")
    (settings.home / "imports" / "b.bad_rows.csv").write_text(f"id,user\n1,not-{text}\n")

    said = disaster.millrace(settings, "erase", text, "--reason", "a test", "--yes")

    receipt = json.loads(said)
    assert receipt["user_id"] == user
    assert receipt["deleted_rows"]["`millrace`.`events`"] == 1
    assert bed.query(f"SELECT count() FROM events WHERE user_id = {user}") == [(0,)]
    assert receipt["deleted_reports"] == [pages["quoted"], pages["shown"]]
    assert [(docs.site(settings) / page).exists() for page in pages.values()] == [
        False,
        False,
        True,
    ]
    kept = objects.connect(settings).list_objects(
        settings.s3_bucket, f"{docs.PREFIX}/reports/", True
    )
    assert [one.object_name for one in kept] == [f"{docs.PREFIX}/{pages['theirs']}"]
    assert receipt["to_look_at"] == [str(file) for file in files]


def test_exports_in_any_state_lose_the_person_and_nobody_else(settings: Settings) -> None:
    start = exports_bed.HOUR
    with exports_bed.exporting(settings) as exporter:
        exports_bed.insert_events(settings, start, 500)
        exports_bed.judge(settings, "published", start)
        exports_bed.export(exporter, "events")
        exports_bed.export(exporter, "events")  # the first run is superseded, its files stay
        definitions.grant(settings, "a test", PersonalData.PLAIN)
        form = {
            "dataset": "events",
            "start": start.isoformat(),
            "end": (start + timedelta(hours=1)).isoformat(),
            "personal_data": "plain",
            "format": "CSV",
        }
        service.deliver(settings, form, "a test")
        exports_bed.insert_events(settings, start + timedelta(hours=1), 100)
        exports_bed.judge(settings, "published", start + timedelta(hours=1))
        exports_bed.export(exporter, "events", start + timedelta(hours=1))
        with postgres.connect(settings) as connection:
            # as a restore of PostgreSQL forgets, and as somebody changes their mind
            connection.execute("DELETE FROM exported_windows WHERE window_start > %s", [start])
            connection.execute("DELETE FROM export_runs WHERE window_start > %s", [start])
            connection.execute(
                "UPDATE export_definitions SET is_active = false, personal_data = 'hashed', "
                "time_column = 'renamed' WHERE name = 'events'"
            )
        assert len(files_with(settings, ", 7, '/p'")) >= 3

        receipt = erase(settings, 7)

        assert files_with(settings, ", 7, '/p'") == []
        assert len(receipt["rewritten_files"]) == 2
        assert len(receipt["deleted_files"]) == 2
        for hour, rows in ((start, 495), (start + timedelta(hours=1), 99)):
            place = f"exports/events/date={hour:%Y-%m-%d}/hour={hour:%H}"
            found = exports_bed.manifest(settings, place)
            with postgres.connect(settings) as connection:
                known = connection.execute(
                    "SELECT r.run_id, r.row_count FROM exported_windows AS w "
                    "JOIN export_runs AS r USING (run_id) "
                    "WHERE w.name = 'events' AND w.window_start = %s",
                    [hour],
                ).fetchall()
            assert known == [{"run_id": found["run_id"], "row_count": rows}]
            assert found["rows"] == rows
            with clickhouse.connect(settings) as client:
                for file in found["files"]:
                    assert file["rows"] == rows
                    collection = clickhouse.object_collection(settings)
                    assert rows == client.command(
                        f"SELECT count() FROM s3({collection}, filename = '{file['key']}')"
                    )
        definitions.apply(settings)


def test_an_erasure_that_fails_begins_again_where_it_stopped(bed: Bed) -> None:
    settings = bed.settings
    bed.send([sent(USER), sent(OTHER)])
    bed.load()
    broken = "exports/events/date=2026-03-02/hour=01/run=1/part-0.parquet"
    bucket = objects.connect(settings)
    bucket.put_object(settings.s3_bucket, broken, BytesIO(b"PAR1 or not"), 11)
    with pytest.raises(ExportError, match="can't be read, so nobody can say"):
        erase(settings)
    asked = "SELECT * FROM erasures WHERE user_id = %s AND completed_at IS NULL"
    assert len(bed.ask(asked, USER)) == 1
    assert bed.query(f"SELECT count() FROM raw_events WHERE value LIKE '%{USER}%'") == [(0,)]

    bucket.remove_object(settings.s3_bucket, broken)
    receipt = erase(settings)

    assert bed.ask(asked, USER) == []
    assert receipt["deleted_rows"]["`millrace`.`events`"] == 1
    bed.assert_conserved(messages=1, events=1)


def test_what_is_still_on_its_way_never_arrives_and_what_is_new_does(bed: Bed) -> None:
    bed.send([sent(USER), sent(OTHER)])
    bed.load()
    bed.send([sent(USER), sent(OTHER), sent(USER, country="usa"), {"user_id": USER, "mail": MAIL}])

    erase(bed.settings)
    bed.load()

    assert holders(bed.settings) == []
    bed.assert_conserved(messages=2, events=2)
    told_late = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    bed.send([sent(USER, timestamp=told_late), event(USER)])  # imported again, and really new
    bed.load()
    assert holders(bed.settings) == []
    assert bed.query("SELECT count() FROM events WHERE source_id = {source}") == [(3,)]
    erase(bed.settings)


@pytest.mark.parametrize("user", [2**63, 2**64 - 1])
def test_a_number_beyond_bigint_is_erased_like_any_other(bed: Bed, user: int) -> None:
    settings = bed.settings
    theirs = event(user, mail=MAIL)
    bed.send([theirs, event(user - 1), event(user, country="usa", mail=MAIL)])
    bed.load()
    bed.send([event(user, mail=MAIL)])  # still on its way
    command = ("backups", "erase", str(user), "--reason", "a test")
    assert '"`millrace`.`events`": 1,' in disaster.millrace(settings, *command)

    receipt = json.loads(disaster.millrace(settings, *command, "--yes"))

    assert receipt["user_id"] == user
    assert receipt["deleted_rows"]["`millrace`.`raw_events`"] == 2
    with postgres.connect(settings) as connection:  # as a restore by hand leaves it
        connection.execute("DELETE FROM erasures")
    assert "erased again" in disaster.millrace(settings, "backups", "catch-up")
    bed.load()
    assert holders(settings) == []
    bed.assert_conserved(messages=1, events=1)


def test_what_is_kept_while_its_sender_is_erased_is_taken_back(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, erased = Warehouse.keep, []

    def keep_late(self: Warehouse, *arguments: Any, **options: Any) -> None:
        if not erased:
            erased.append(erase(bed.settings))
        keep(self, *arguments, **options)

    bed.send([sent(USER), sent(OTHER)])
    monkeypatch.setattr(Warehouse, "keep", keep_late)
    bed.load()

    assert len(erased) == 1
    assert holders(bed.settings) == []
    bed.assert_conserved(messages=1, events=1)


def test_a_rebuild_brings_nobody_back_even_if_the_warehouse_has_forgotten(bed: Bed) -> None:
    bed.send([sent(USER), sent(OTHER), sent(USER, country="usa"), sent(OTHER, country="usa")])
    bed.load()
    erase(bed.settings)
    today = datetime.now(UTC).date()
    bed.query("TRUNCATE TABLE erased_positions")
    bed.query(f"ALTER TABLE raw_events DROP PARTITION '{today}'")

    rebuilding.rebuild(bed.settings, today)

    assert holders(bed.settings) == []
    bed.assert_conserved_verdicts(messages=2, events=1)
    ((noted,),) = bed.query("SELECT count() FROM erased_positions")
    assert noted >= 2


def test_tables_that_others_made_are_found_whatever_their_engine(bed: Bed) -> None:
    bed.query("CREATE DATABASE IF NOT EXISTS analytics_dev_somebody")
    where = "analytics_dev_somebody"
    bed.query(f"CREATE TABLE {where}.people (user_id String, mail String) ENGINE = Log")
    bed.query(f"CREATE TABLE {where}.more AS events")
    bed.query(f"INSERT INTO {where}.people VALUES ('{USER}', '{MAIL}'), ('{OTHER}', 'theirs')")
    bed.query(f"INSERT INTO {where}.more (user_id, properties) VALUES ({USER}, {{'m': '{MAIL}'}})")

    receipt = erase(bed.settings)

    assert holders(bed.settings) == []
    assert bed.query(f"SELECT * FROM {where}.people") == [(str(OTHER), "theirs")]
    assert receipt["deleted_rows"][f"`{where}`.`people`"] == 1
    bed.query(f"DROP DATABASE {where}")


def test_an_order_that_postgresql_has_lost_is_carried_out_again(bed: Bed) -> None:
    settings = bed.settings
    receipt = erase(settings)
    with postgres.connect(settings) as connection:  # as a restore by hand leaves it
        connection.execute("DELETE FROM erasures")
    bed.send([sent(OTHER)])
    bed.load()
    bed.query(
        "INSERT INTO events (event_id, event_time, user_id, properties, topic, offset) "
        f"SELECT generateUUIDv4(), now64(3), {USER}, map('mail', '{MAIL}'), 'restored', 1"
    )

    said = disaster.millrace(settings, "backups", "catch-up")

    assert "erased again" in said
    assert holders(settings) == []
    known = bed.ask("SELECT * FROM erasures WHERE user_id = %s ORDER BY 1 DESC LIMIT 1", USER)
    assert known[0]["receipt"] == receipt
    assert known[0]["completed_at"] is not None
    assert bed.count("events") == 1


@pytest.mark.timeout(300)
def test_a_restore_to_before_an_erasure_brings_nobody_back(stack: Stack, bed: Bed) -> None:
    settings = stack.settings
    bed.send([sent(USER), sent(OTHER), sent(USER, country="usa"), sent(USER, event="unheard_of")])
    bed.load()
    drift.record(settings)
    disaster.millrace(settings, "backups", "run")
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO user_profiles (user_id, attributes) VALUES (%s, %s) "
            "ON CONFLICT (user_id) DO UPDATE SET attributes = excluded.attributes",
            [USER, json.dumps({"mail": MAIL})],
        )
        wal.await_archived(settings)
        moment = connection.execute("SELECT clock_timestamp() AS now").fetchall()[0]["now"]
    hour = exports_bed.HOUR
    exports_bed.insert_events(settings, hour, 10)
    receipt = erase(settings)
    erase(settings, OTHER)
    wal.await_archived(settings)

    said = disaster.millrace(settings, "restore", "--to", moment.isoformat(), "--replace")

    assert "people who had been erased since were erased again" in said
    assert holders(settings) == []
    with postgres.connect(settings) as connection:
        known = connection.execute(
            "SELECT * FROM erasures WHERE erasure_id = %s", [receipt["erasure_id"]]
        ).fetchall()
        assert [(one["user_id"], one["receipt"]) for one in known] == [(USER, receipt)]
        assert known[0]["completed_at"] is not None
    bed.load()
    assert holders(settings) == []
    bed.assert_conserved(messages=0, events=0)
    assert erase(settings, 7)["erasure_id"] > receipt["erasure_id"] + 1
