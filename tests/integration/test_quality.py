"""Audits and metrics on a real warehouse with its marts, against numbers worked out by hand."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.integration.quality_bed import HOUR, NOW, SOURCE, minutes, verdicts
from tests.integration.transform_bed import deploy_untested

from millrace.contract import sources
from millrace.contract.failures import REASONS
from millrace.contract.sources import Source
from millrace.quality import anomalies, audit, docs, hours, metrics, model, pending, publication
from millrace.quality.suites import build, load_suites
from millrace.quality.windows import KINDS, Window, closed_windows, window_at
from millrace.rules import gate, store
from millrace.rules.model import Rule
from millrace.stores import objects, postgres
from millrace.transform import project

BASE_TABLES = {
    *("raw_events", "events", "rejected_events", "event_id_register", "user_profiles"),
    *("published_through", "rebuilt_days", "rule_metrics", "rule_metric_definitions"),
    "rule_metric_rollups",
}


def text(event_id: uuid.UUID, user_id: int = 7) -> str:
    return f'{{"event_id": "{event_id}", "event":"click", "user_id" : {user_id}}}'


def test_hourly_metrics_match_a_hand_calculation(warehouse):
    ids = [uuid.uuid4() for _ in range(8)]
    raw = [warehouse.message(n, text(ids[n])) for n in range(8)]
    raw += [warehouse.message(8, "broken"), warehouse.message(9, text(uuid.uuid4()))]
    warehouse.write("raw_events", raw)
    late = HOUR.start + timedelta(seconds=61)
    warehouse.write(
        "events",
        [
            *(warehouse.event(n, event_id=ids[n]) for n in range(5)),
            warehouse.event(5, event_id=ids[5], ingested_at=late),
            warehouse.event(6, event_id=ids[0]),  # a copy: not unique, and not what was sent
            warehouse.event(7, event_id=ids[7], user_id=8),  # not what was sent
        ],
    )
    rejected = {k: v for k, v in raw[8].items() if k != "ingested_at"}
    said = {"reason": "malformed_json", "rejected_at": HOUR.start}
    both = {k: v for k, v in raw[0].items() if k != "ingested_at"}  # in events as well
    warehouse.write("rejected_events", [rejected | said, both | said])

    found = {m.name: m for m in metrics.measure(warehouse.client, HOUR) if m.source_id == SOURCE}
    assert {name: (m.good, m.total) for name, m in found.items()} == {
        "completeness": (9, 10),  # offset 9 is in neither table
        "consistency": (8, 9),  # offset 0 is in both
        "timeliness": (7, 8),
        "uniqueness": (7, 8),
        "accuracy": (6, 8),
    }
    assert not any(m.is_met for m in found.values())


def test_accuracy_reads_messages_by_their_sources_names(warehouse):
    ids = [uuid.uuid4() for _ in range(3)]
    said = ['"7.0"', "7", "8"]
    warehouse.write(
        "raw_events",
        [
            warehouse.message(n, f'{{"id": "{ids[n]}", "what": "click", "who": {said[n]}}}')
            for n in range(3)
        ],
    )
    warehouse.write("events", [warehouse.event(n, event_id=ids[n]) for n in range(3)])
    names = {"event_id": "id", "event": "what", "user_id": "who"}
    source = Source(SOURCE, 1, SOURCE, "events", {"fields": names})
    found = metrics.measure(warehouse.client, HOUR, [source])
    assert [(m.good, m.total) for m in found if m.name == "accuracy"] == [(2, 3)]


def test_accuracy_does_not_compare_what_rules_change(warehouse, own_settings):
    with (
        postgres.connect(own_settings) as connection,
        connection.transaction(force_rollback=True),
    ):
        source = sources.every(connection)[0].source_id
        assert metrics.changed(connection, HOUR) == []
        for rule in (
            Rule("names", "transformation", {"transform": "case", "field": "event", "to": "lower"}),
            Rule(
                "guests",
                "transformation",
                {"transform": "default", "field": "user_id", "value": 7},
                event_type="click",
            ),
            Rule("agents", "transformation", {"transform": "user_agent", "field": "event_id"}),
        ):
            store.put_rule(connection, rule)
        # the fixture's gate has its number from itself, not from the sequence
        connection.execute("SELECT nextval(pg_get_serial_sequence('gates', 'gate_id'))")
        gate.compile_gate(connection, own_settings, source)
        changed = metrics.changed(connection, HOUR)
    assert sorted(changed) == [(source, "event", ""), (source, "user_id", "")]

    ids = [uuid.uuid4() for _ in range(4)]
    said = [
        {"event_id": str(ids[0]), "event": "CLICK", "user_id": 7},
        {"event_id": str(ids[1]), "event": "click"},
        {"event_id": str(ids[2]), "event": "click"},
        {"event_id": str(uuid.uuid4()), "event": "click"},
    ]
    made = [{}, {}, {"event_type": "view"}, {}]
    of = {"source_id": source}
    warehouse.write(
        "raw_events", [warehouse.message(n, json.dumps(one)) | of for n, one in enumerate(said)]
    )
    warehouse.write(
        "events",
        [warehouse.event(n, event_id=ids[n], **one) | of for n, one in enumerate(made)],
    )

    def accuracy(changed: list[metrics.Changed]) -> list[tuple[int, int]]:
        found = metrics.measure(warehouse.client, HOUR, changed=changed)
        return [(m.good, m.total) for m in found if m.name == "accuracy"]

    assert accuracy([]) == [(0, 4)]
    assert accuracy(changed) == [(3, 4)]  # the last one's id is not the message's
    assert accuracy([(source, "user_id", "click")]) == [(1, 4)]
    assert accuracy([("another", "user_id", ""), ("another", "event", "")]) == [(0, 4)]
    assert accuracy([(source, name, "") for name in metrics.COMPARED]) == []


def test_every_reason_of_the_contract_is_a_documented_one() -> None:
    (suite,) = (suite for suite in load_suites() if suite.dataset == "rejected_events")
    listed = [e.value_set for e in build(suite, HOUR) if hasattr(e, "value_set")]
    assert listed == [list(REASONS)]


def test_a_bad_window_is_withheld_and_a_good_one_published(warehouse, own_settings):
    warehouse.load(minutes(0))
    warehouse.load(minutes(10, 11), event_id=uuid.uuid4())
    (suite,) = (suite for suite in load_suites() if suite.dataset == "events")
    good = window_at("5m", HOUR.start)
    bad = window_at("5m", HOUR.start + timedelta(minutes=10))
    audits = audit.run(own_settings, [(suite, good), (suite, bad)])
    reason = "Some event ids occur more than once, so those events are counted too often."
    assert [[f.statement for f in one.failures] for one in audits] == [[], [reason]]
    with pytest.raises(audit.QualityError, match=r"1 window withheld\nevents .*\n  critical") as up:
        audit.demand(audits)
    assert audits[1].link in str(up.value)
    assert "copies = 2" in str(up.value)
    assert verdicts(own_settings, good) == {"events": ("published", "")}
    assert verdicts(own_settings, bad) == {"events": ("withheld", reason)}
    seen = warehouse.client.query("SELECT event_time FROM published.events").result_rows
    assert [row[0].replace(tzinfo=UTC) for row in seen] == minutes(0)
    for one in audits:
        assert (docs.site(own_settings) / one.report).is_file()
    page, kind = docs.read(own_settings, audits[1].report)
    assert kind == "text/html"
    assert b"Withheld: 1 of" in page
    assert b"What is wrong now" in docs.read(own_settings, docs.FRONT_PAGE)[0]
    pages = objects.connect(own_settings).list_objects(
        own_settings.s3_bucket, "data_docs/", recursive=True
    )
    assert f"data_docs/{audits[0].report}" in {page.object_name for page in pages}


def test_a_warning_does_not_withhold(warehouse, own_settings):
    warehouse.load(minutes(0), device="toaster")
    window = window_at("5m", HOUR.start)
    audits = audit.audit_window(own_settings, window, "events")
    assert [f.expectation for f in audits[0].warnings] == [
        "At least 99 % of the devices are of a known kind."
    ]
    assert "warning: More than 1 % of the devices" in audit.demand(audits)
    assert verdicts(own_settings, window) == {"events": ("published", "")}


def test_a_table_whose_view_was_taken_out_of_ingest_is_withheld(warehouse, own_settings):
    warehouse.load(minutes(0))
    window = window_at("5m", HOUR.start)
    with postgres.connect(own_settings) as connection:
        connection.execute(
            "INSERT INTO withdrawn_views (view, rollups, definition, error, batch_id)"
            " VALUES ('analytics.x_mv', '{events}', '', 'Cannot parse Int64', 1)"
        )
        (found,) = audit.audit_window(own_settings, window, "events")
        assert "Cannot parse Int64" in found.summary()
        assert verdicts(own_settings, window)["events"] == ("withheld", audit.WITHDRAWN[1])
        connection.execute("DELETE FROM withdrawn_views")
    audit.audit_window(own_settings, window, "events")
    assert verdicts(own_settings, window)["events"] == ("published", "")


def test_what_is_made_from_a_withheld_window_is_withheld_with_it(warehouse, own_settings):
    suites = {suite.dataset: suite for suite in load_suites()}
    hour, bad = HOUR, window_at("5m", HOUR.start)

    def judge(dataset: str, window: Window, *, fails: bool = False) -> None:
        failed = [
            model.Finding("It is so.", "It fails.", "critical", is_success=not fails, observed={})
        ]
        made = model.Audit(dataset, window, "", "", NOW, failed)
        with postgres.connect(own_settings) as connection:
            publication.publish(connection, suites[dataset], made)
            publication.release(connection, suites.values())

    judge("events", bad, fails=True)
    judge("metrics_1h", hour)
    judge("sessions", hour, fails=True)
    judge("rejected_events", hour)
    assert verdicts(own_settings, hour) == {
        "metrics_1h": ("withheld", "made from withheld events"),
        "sessions": ("withheld", "It fails."),
        "rejected_events": ("published", ""),
    }
    judge("events", bad)
    assert verdicts(own_settings, hour)["metrics_1h"] == ("published", "")
    assert verdicts(own_settings, hour)["sessions"] == ("withheld", "It fails.")


def test_every_base_table_and_mart_has_a_suite_that_good_data_fits(
    warehouse, own_settings, request
):
    warehouse.load([HOUR.start + timedelta(seconds=17 * n) for n in range(200)])
    warehouse.load(minutes(*range(60)), event_type="page_view", user_id=5)
    deploy_untested(own_settings)
    request.addfinalizer(lambda: warehouse.client.command("DROP DATABASE analytics SYNC"))
    folder = project.deployed(own_settings)
    manifest = json.loads((folder / "target" / "manifest.json").read_text())
    marts = {n["name"] for n in manifest["nodes"].values() if "marts" in n.get("tags", ())}
    sources = {node["name"] for node in manifest["sources"].values()}
    assert marts
    assert sources < BASE_TABLES
    suites = load_suites()
    assert {suite.dataset for suite in suites} == BASE_TABLES | marts
    assert len(pending.existing(own_settings, warehouse.client, suites)) == len(suites)

    windows = [window_at(kind, HOUR.start) for kind in KINDS]
    audits = [one for window in windows for one in audit.audit_window(own_settings, window)]
    assert {one.dataset for one in audits} == {suite.dataset for suite in suites}
    failed = [one.summary() for one in audits if one.failures]
    assert failed == []
    errors = [f for one in audits for f in one.findings if "error" in f.observed]
    assert errors == []
    (total,) = warehouse.client.query("SELECT sum(events) FROM published.metrics_1h").first_row
    assert total == 260

    client = warehouse.client
    client.command(
        "INSERT INTO analytics.metrics_1h VALUES "
        f"('{HOUR.start:%Y-%m-%d %H:%M:%S}', 'click', 'de', 'mobile', 5)"
    )
    client.command("ALTER TABLE analytics.int_session_versions UPDATE events = 9 WHERE user_id = 5")
    found = {
        one.dataset: {f.expectation for f in one.failures}
        for one in audit.audit_window(own_settings, windows[1])
        if one.failures
    }
    countries = "Every country is a code of two capital letters, or empty where it is unknown."
    assert set(found) == {"metrics_1h", "sessions", "traffic_by_country_device"}
    assert found["metrics_1h"] == {"The table counts as many events as there were.", countries}
    assert found["traffic_by_country_device"] == {countries}
    assert "No session has more page views than events." in found["sessions"]
    (total,) = client.query("SELECT sum(events) FROM published.metrics_1h").first_row
    assert total == 0


def test_late_events_have_their_windows_audited_and_hours_measured_again(warehouse, own_settings):
    hour = window_at("1h", NOW - timedelta(hours=2))
    now = hour.end + timedelta(minutes=5)
    early = [hour.start + timedelta(minutes=n) for n in (1, 21, 41)]
    warehouse.load(early, received_at=early[0], ingested_at=early[0])

    def all_is_loaded_until(moment: datetime) -> None:
        """Have the ledger say so, by a claim that is under way since then."""
        with postgres.connect(own_settings) as ledger:
            ledger.execute("DELETE FROM ingest_batches")
            ledger.execute(
                "INSERT INTO ingest_batches (source_id, gate_id, owner, claimed_at) "
                "VALUES ('test', 1, 'test', %s)",
                [moment],
            )

    def audited() -> dict[tuple[str, str], list[int]]:
        """Return the starting minutes of the windows audited now, by dataset and kind."""
        found: dict[tuple[str, str], list[int]] = {}
        for one in audit.audit_closed(own_settings, now):
            if one.window.start >= hour.start:
                found.setdefault((one.dataset, one.window.kind), []).append(one.window.start.minute)
        return found

    def measured() -> list[Window]:
        return [one for one in hours.judge_closed(own_settings, now) if one >= hour]

    all_is_loaded_until(now)
    first = audited()
    assert first["events", "5m"] == [55, 40, 20, 0]  # the last in any case: silence is news
    assert first["events", "1h"] == [0]
    assert measured() == [hour]
    assert audited() == {}
    assert measured() == []

    # ingested since, as one that was held up; and its id is already there
    late = now + timedelta(minutes=1)
    copied = uuid.uuid4()
    times = [early[1] + timedelta(seconds=n) for n in (1, 2)]
    warehouse.load(times, received_at=early[1], ingested_at=late, event_id=copied)
    now += timedelta(minutes=5)
    all_is_loaded_until(now)
    assert audited()["events", "5m"] == [0, 20]  # the one that has closed, and the changed one
    bad = window_at("5m", early[1])
    assert verdicts(own_settings, bad)["events"][1].startswith("Some event ids occur more")
    assert audited() == {}
    now += timedelta(minutes=60)
    assert audited()["events", "1h"] == [0, 0]
    assert measured() == [window_at("1h", hour.end), hour]
    ((good, total),) = warehouse.client.query(
        "SELECT good, total FROM quality_metrics FINAL "
        "WHERE metric = 'uniqueness' AND hour = {hour:DateTime('UTC')}",
        parameters={"hour": hour.start},
    ).result_rows
    assert (good, total) == (4, 5)


def test_an_incident_does_not_become_the_new_normal(warehouse, own_settings):
    hour = window_at("1h", NOW - timedelta(hours=5))

    def week(ago: int, count: int, country: str = "DE", age: float = 1.0) -> set[tuple[str, str]]:
        """Write an hour's events and judge it; return the kinds and dimensions that stood out."""
        at = window_at("1h", hour.start - timedelta(weeks=ago))
        rows = [
            warehouse.event(
                n,
                at.start + timedelta(seconds=n),
                country=country if n % 2 else "US",
                ingested_at=at.start + timedelta(seconds=n + age),
            )
            for n in range(count)
        ]
        if rows:
            warehouse.write("events", rows)
        anomalies.find(warehouse.client, at, at.end + timedelta(minutes=6))
        found = warehouse.client.query(
            "SELECT kind, dimension FROM quality_anomalies FINAL "
            "WHERE window_start = {at:DateTime('UTC')}",
            parameters={"at": at.start},
        ).result_rows
        return {(kind, dimension) for kind, dimension in found}

    usual = [week(ago, count) for ago, count in ((8, 200), (7, 206), (6, 198), (5, 202))]
    assert usual == [set(), set(), set(), set()]
    flood = {("volume", d) for d in ("", "country=DE", "country=US", "device=mobile")}
    assert week(4, 2000) == flood
    assert week(3, 2000) == flood  # again: the first time is in no baseline
    assert week(2, 200, age=90) == {
        ("freshness", d) for d in ("", "country=DE", "country=US", "device=mobile")
    }
    moved = {("volume", "country=DE"), ("distribution", "country")}
    assert week(1, 200, country="FR") == moved
    late = {("freshness", d) for d in ("", "country=US", "device=mobile")}
    new = {("volume", "country=FR")}  # one week of eight does not make it usual
    assert week(0, 200, country="FR", age=90) == moved | late | new
    assert week(0, 0) == moved | late | new  # judged again: the same


def test_every_suite_is_understood():
    for suite in load_suites():
        for kind in suite.windows:
            assert build(suite, window_at(kind, NOW))


def test_windows_close_after_their_grace():
    now = datetime(2026, 1, 1, 12, 5, 59, tzinfo=UTC)
    last = closed_windows("5m", now)[-1]
    assert last.end == datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    last = closed_windows("5m", now + timedelta(seconds=1))[-1]
    assert last == Window(now.replace(minute=0, second=0), now.replace(second=0), "5m")
    for kind in KINDS:
        found = closed_windows(kind, now)
        assert all(a.end == b.start for a, b in pairwise(found))
