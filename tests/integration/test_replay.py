"""Replays on real servers: previewed, repaired, once each, marked with their outcome."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.helpers.dying_producer import CrashError, dying
from tests.integration.ingest_bed import Bed, event

from millrace.contract.errors import RuleError
from millrace.lab.simulate.record_batches import Connection, Record, batch
from millrace.rules import approval, gate, hits, replay, selection, store, trial
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, headers, postgres, transactions


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def later() -> str:
    return f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}"


def test_repaired_events_enter_once_and_are_marked(bed: Bed, settings: Settings, monkeypatch):
    renamed = [event(user) for user in range(1, 13)]
    for one in renamed:
        one["uid"] = one.pop("user_id")
    hopeless = event(99)
    del hopeless["user_id"]
    bed.send([*renamed, hopeless, event(5)])
    bed.load()
    assert bed.reasons() == {"missing_field": 13}

    steps = [{"transform": "rename", "field": "uid", "to": "user_id"}]
    criteria = replay.Criteria(bed.name, reason="missing_field", until=later())
    previewed = replay.preview(settings, criteria, steps)
    assert (previewed["selected"], previewed["would_pass"]) == (13, 12)
    assert previewed["would_fail"] == {"missing_field": 1}
    shown = approval.describe(previewed)
    assert "**13 rejected events**" in shown
    assert "| would be rejected again: `missing_field` | 1 |" in shown
    assert '"uid"' in previewed["example"]["before"]
    assert '"user_id"' in previewed["example"]["after"]

    monkeypatch.setattr(transactions, "TRANSACTION_MESSAGES", 5)
    with dying(monkeypatch, last=8, is_sent=False), pytest.raises(CrashError):
        replay.send(settings, previewed["replay_id"])
    assert replay.send(settings, previewed["replay_id"]) == 8
    assert replay.send(settings, previewed["replay_id"]) == 0

    assert replay.settle(settings, previewed["replay_id"]) == {"pending": 13}
    bed.load()
    bed.assert_conserved(messages=27, events=13)
    outcomes = {"accepted": 12, "missing_field": 1}
    assert replay.settle(settings, previewed["replay_id"]) == outcomes

    monkeypatch.setattr(selection, "PAGE", 3)  # those that were replayed fill the first pages
    again = replay.preview(settings, criteria, steps)
    assert again["selected"] == 1  # what failed again is a new message at a new offset
    first = replay.preview(settings, replace(criteria, limit=1), steps)
    assert first["selected"] == 1  # those that were replayed don't use up the limit
    replay.send(settings, first["replay_id"])
    assert replay.preview(settings, criteria, steps)["replay_id"] is None


def test_an_unknown_user_passes_once_known(bed: Bed, settings: Settings):
    dictionaries.ensure(settings)
    rule = Rule("user_known", "validation", {"check": "known_user"}, source_id=bed.name)
    known, unknown = 7_000_001, 7_000_002

    def know(user: int) -> None:
        bed.ask("INSERT INTO user_profiles (user_id) VALUES (%s) ON CONFLICT DO NOTHING", user)
        clickhouse.connect(settings).command("SYSTEM RELOAD DICTIONARY user_profiles")

    know(known)
    bed.ask("DELETE FROM user_profiles WHERE user_id = %s", unknown)
    with postgres.connect(settings) as connection:
        with store.change(connection):
            store.put_rule(connection, rule)
            gate.compile_all(connection, settings)
        bed.send([event(known), event(unknown)])
        bed.load()
        assert bed.reasons() == {"unknown_reference": 1}

        criteria = replay.Criteria(bed.name, rule="user_known", until=later())
        assert replay.preview(settings, criteria, [])["would_fail"] == {"unknown_reference": 1}
        know(unknown)
        previewed = replay.preview(settings, criteria, [])
        assert (previewed["selected"], previewed["would_pass"]) == (1, 1)
        replay.send(settings, previewed["replay_id"])
        bed.load()
        assert replay.settle(settings, previewed["replay_id"]) == {"accepted": 1}
        with store.change(connection):
            store.remove_rule(connection, "user_known")
            gate.compile_all(connection, settings)
    bed.assert_conserved(messages=3, events=2)


def test_what_was_approved_is_sent_whatever_comes_in_meanwhile(bed: Bed, settings: Settings):
    bed.send([b"one", b"two"])
    bed.load()
    previewed = replay.preview(settings, replay.Criteria(bed.name, until=later()), [])
    overlapping = replay.preview(settings, replay.Criteria(bed.name, limit=1, until=later()), [])
    bed.send([b"three"])
    bed.load()
    assert replay.send(settings, overlapping["replay_id"]) == 1
    assert replay.send(settings, previewed["replay_id"]) == 1
    bed.load()
    for one in (overlapping, previewed):
        assert replay.settle(settings, one["replay_id"]) == {"malformed_json": 1}
    bed.assert_conserved(messages=5, events=0)


def test_messages_of_partitions_that_are_gone_go_where_their_key_goes(settings: Settings):
    bed = Bed(settings, partitions=5)
    users = [user for user in range(1, 400) if murmur2_partition(str(user), 5) == 4][:6]
    bed.send([event(user, country="de") for user in [*users, *range(1000, 1020)]])
    bed.send([b"of no key"], partition=4)
    bed.load()
    assert bed.reasons() == {"invalid_value": 26, "malformed_json": 1}
    steps = [{"transform": "case", "field": "country", "to": "upper"}]
    previewed = replay.preview(settings, replay.Criteria(bed.name, until=later()), steps)
    assert previewed["selected"] == 27
    bed.recreate_topic(partitions=2)
    assert replay.send(settings, previewed["replay_id"]) == 27
    bed.load()
    outcomes = {"accepted": 26, "malformed_json": 1}
    assert replay.settle(settings, previewed["replay_id"]) == outcomes
    rows = bed.query(
        "SELECT user_id, partition FROM events WHERE source_id = {source} AND user_id < 1000"
    )
    assert dict(rows) == {user: murmur2_partition(str(user), 2) for user in users}


def test_one_that_can_not_go_is_told_and_the_others_go(bed: Bed, settings: Settings):
    large = event(1) | {"country": "de", "note": random.Random(1).randbytes(200_000).hex()}
    bed.send([large, event(2, country="de"), event(3, country="de"), event(4, country="de")])
    bed.load()
    assert bed.reasons() == {"invalid_value": 4}
    criteria = replay.Criteria(bed.name, until=later())
    steps = [{"transform": "case", "field": "country", "to": "upper"}]
    previewed = replay.preview(settings, criteria, steps)
    bed.set_topic(max_message_bytes="20000")
    bed.delete("rejected_events", f"source_id = '{bed.name}' AND value LIKE '%\"user_id\": 3,%'")
    assert replay.send(settings, previewed["replay_id"]) == 2
    bed.load()
    outcomes = {"accepted": 2, "expired": 1, "refused": 1}
    assert replay.settle(settings, previewed["replay_id"]) == outcomes
    (row,) = bed.ask(
        "SELECT state, detail FROM replays JOIN replayed_events USING (replay_id) "
        "WHERE replay_id = %s AND outcome = 'refused'",
        previewed["replay_id"],
    )
    assert row["state"] == "settled"
    assert "too large" in row["detail"].lower()
    bed.set_topic(max_message_bytes="20000000")
    again = replay.preview(settings, criteria, steps)
    assert (again["selected"], again["would_pass"]) == (1, 1)
    assert replay.send(settings, again["replay_id"]) == 1
    bed.load()
    assert replay.settle(settings, again["replay_id"]) == {"accepted": 1}


def test_strange_headers_and_half_a_surrogate_stop_no_replay(bed: Bed, settings: Settings):
    half = json.dumps(event(1, country="de")).encode().replace(b"/home", b"cut \\ud83d")
    odd = [(b"trace\xff", b"1"), (b"none", None)]
    records = [
        Record(value, b"1", odd, int(datetime.now(UTC).timestamp() * 1000))
        for value in (half, json.dumps(event(2, country="de")).encode())
    ]
    broker = Connection(settings.kafka_bootstrap_servers)
    broker.produce(bed.name, 0, batch(records))
    broker.close()
    bed.load()
    steps = [{"transform": "case", "field": "country", "to": "upper"}]
    previewed = replay.preview(settings, replay.Criteria(bed.name, until=later()), steps)
    assert (previewed["would_pass"], previewed["would_fail"]) == (1, {"malformed_json": 1})
    assert replay.send(settings, previewed["replay_id"]) == 2
    bed.load()
    outcomes = {"accepted": 1, "malformed_json": 1}
    assert replay.settle(settings, previewed["replay_id"]) == outcomes
    ((stored,),) = bed.query(
        "SELECT headers FROM raw_events WHERE source_id = {source} AND partition != 0 OR "
        "source_id = {source} AND position(headers, 'x-millrace-replay') > 0 "
        "ORDER BY offset LIMIT 1"
    )
    assert headers.decode(stored)[:2] == [("trace\ufffd".encode(), b"1"), (b"none", None)]


def murmur2_partition(key: str, partitions: int) -> int:
    """Where Java's default partitioner puts a key, written from its definition."""
    data, m = key.encode(), 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    for at in range(0, len(data) - len(data) % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ (k ^ k >> 24) * m & 0xFFFFFFFF
    if rest := data[len(data) - len(data) % 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def test_a_wrong_selection_or_repair_is_refused(bed: Bed, settings: Settings):
    with pytest.raises(RuleError, match="reason is 'nonsense'"):
        replay.preview(settings, replay.Criteria(bed.name, reason="nonsense"), [])
    with pytest.raises(RuleError, match="repair step 1: transform is 'hash'"):
        replay.preview(settings, replay.Criteria(bed.name), [{"transform": "hash"}])


def test_a_shadow_rule_is_tried_on_the_past_and_counted(bed: Bed, settings: Settings):
    bed.send([*(event(user) | {"sku": "a"} for user in range(1, 31)), event(31), event(32), b"x"])
    bed.load()
    rule = Rule("sku_wanted", "validation", {"check": "required", "field": "sku"}, mode="shadow")
    now = datetime.now(UTC)
    with postgres.connect(settings) as connection:
        client = clickhouse.connect(settings)
        found = trial.dry_run(
            client,
            store.rules_of(connection, bed.name),
            rule,
            gate.surroundings(connection, settings, bed.name),
            bed.name,
            now - timedelta(hours=1),
            now + timedelta(minutes=1),
        )
        assert (found.judged, found.hits) == (32, 2)
        assert {one["user_id"] for one in found.examples} == {31, 32}
        assert found.examples[0]["failure"] == "missing_field|sku|sku_wanted"
        assert (found.examples[0]["field"], found.examples[0]["value"]) == ("sku", None)
        only_b = {"check": "allowed_values", "field": "sku", "values": ["b"]}
        unknown = trial.dry_run(
            client,
            store.rules_of(connection, bed.name),
            Rule("sku_known", "validation", only_b, mode="shadow"),
            gate.surroundings(connection, settings, bed.name),
            bed.name,
            now - timedelta(hours=1),
            now + timedelta(minutes=1),
        )
        assert unknown.hits == 30
        assert {(one["field"], one["value"]) for one in unknown.examples} == {("sku", "a")}

        with store.change(connection):
            store.put_rule(connection, rule)
            gate.compile_all(connection, settings)
        hits.count_closed(settings, now + timedelta(minutes=5))
        counted = client.query(
            "SELECT rule, mode, sum(hits) FROM rule_hits FINAL WHERE source_id = {source:String} "
            "GROUP BY rule, mode ORDER BY rule",
            parameters={"source": bed.name},
        ).result_rows
        with store.change(connection):
            store.remove_rule(connection, "sku_wanted")
            gate.compile_all(connection, settings)
    assert counted == [("contract", "enforce", 1), ("sku_wanted", "shadow", 2)]
