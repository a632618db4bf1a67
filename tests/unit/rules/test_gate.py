"""What the gate says of single messages, on the real engine."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from millrace.api.ingestion import devices
from tests.unit.rules.conftest import AROUND, rule


def test_a_valid_event_passes_with_every_column(judge, event):
    event |= {"referrer": "google", "amount": 12.50, "geo_location": {"city": "Berlin"}}
    (row,) = judge(event)
    assert row["failures"] == []
    assert row["event_time"] == "2026-01-01 11:59:59.500"
    assert row["user_id"] == "123"
    assert row["event_type"] == "page_view"
    assert row["properties"] == {"referrer": "google", "amount": "12.5"}
    assert row["geo_location"] == {"city": "Berlin"}


UNREADABLE = {
    b"": "empty_message",
    b" \n\t\r": "empty_message",
    b"\xff\xfe": "malformed_json",
    b"{": "malformed_json",
    b"[1]": "malformed_json",
    b"null": "malformed_json",
    b'{"a": NaN}': "malformed_json",
    b'{"a": "\xc0\xaf"}': "malformed_json",
    b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}": "malformed_json",
    b'{"a": "' + b"x" * (1 << 20) + b'"}': "message_too_large",
}


def test_what_cannot_be_read_has_that_one_failure(judge):
    found = [row["failures"] for row in judge(*UNREADABLE)]
    assert found == [[f"{reason}||contract"] for reason in UNREADABLE.values()]


SPOILED = (
    ({"event_id": None}, ["missing_field|event_id|contract"]),
    ({"event_id": "7d4448409dc011d1b2455ffdce74fad"}, ["invalid_type|event_id|contract"]),
    ({"timestamp": "2026-01-01T11:00:00"}, ["invalid_type|timestamp|contract"]),
    ({"timestamp": "2026-02-30T11:00:00Z"}, ["invalid_type|timestamp|contract"]),
    ({"timestamp": 1767268800}, ["invalid_type|timestamp|contract"]),
    (
        {"timestamp": "2026-01-01T12:10:00.001Z"},
        ["event_in_future|timestamp|event_not_in_future"],
    ),
    ({"timestamp": "2026-01-01T12:10:00Z"}, []),
    ({"timestamp": "2025-10-03T11:59:59.999Z"}, ["event_too_old|timestamp|event_not_too_old"]),
    ({"timestamp": "2025-10-03T12:00:00Z"}, []),
    ({"timestamp": "2026-01-01T13:00:00+02:00"}, []),
    ({"user_id": 0}, ["invalid_type|user_id|contract"]),
    ({"user_id": -1}, ["invalid_type|user_id|contract"]),
    ({"user_id": "123"}, []),
    ({"user_id": 12.0}, []),
    ({"user_id": 1.5}, ["invalid_type|user_id|contract"]),
    ({"user_id": "0123"}, ["invalid_type|user_id|contract"]),
    ({"user_id": 2**64 - 1}, []),
    ({"user_id": 2**64}, ["invalid_type|user_id|contract"]),
    ({"event": "nonsense"}, ["unknown_event_type|event|event_type_registered"]),
    ({"country": "usa"}, ["invalid_value|country|country_code"]),
    ({"page": "é" * 2048}, []),
    ({"page": "é" * 2049}, ["invalid_value|page|page_length"]),
    ({"amount": "NaN"}, ["invalid_type|amount|amount_in_range"]),
    ({"amount": -0.01}, ["out_of_range|amount|amount_in_range"]),
    ({"amount": "7"}, []),
    (
        {"amount": -1, "event": "x", "user_id": "?", "country": "1", "event_id": ""},
        [
            "missing_field|event_id|contract",
            "invalid_type|user_id|contract",
            "invalid_value|country|country_code",
            "out_of_range|amount|amount_in_range",
            "unknown_event_type|event|event_type_registered",
        ],
    ),
)


def test_each_reason(judge, event):
    rows = judge(*(event | spoiled for spoiled, _ in SPOILED))
    found = [(spoiled, row["failures"]) for row, (spoiled, _) in zip(rows, SPOILED, strict=True)]
    assert found == [*SPOILED]


USERS = {
    b"12.0": "12",
    b"1e2": "100",
    b"12345678901234568.0": "12345678901234568",
    b"12345678901234567.0": None,
    b"0.99999999999999999": None,
    b"1.00000000000000000001": None,
    b"9007199254740993e0": None,
    b"1.8446744073709551615e19": None,
}


def test_a_users_number_is_never_another_users(judge, event):
    del event["user_id"]
    text = json.dumps(event).encode()[:-1]
    keys = (b'"user_id"', b'"user\\u005fid"', b'"o":{"user_id":7.0},"user_id"')
    sent = list(itertools.product(keys, USERS.items()))
    rows = judge(*(text + b"," + key + b" :\t" + written + b"}" for key, (written, _) in sent))
    for row, (key, (_, user)) in zip(rows, sent, strict=True):
        if row["failures"] == []:
            assert row["user_id"] == user
        else:
            assert row["failures"] == ["invalid_type|user_id|contract"]
            assert user is None or b"\\u" in key  # such a key is not searched for


def test_an_object_that_is_none_is_kept_with_a_warning(judge, event):
    warning = "invalid_type|{}|contract"
    none = (
        ("iPhone 15", "iPhone 15"),
        ([52.5, 13.4], "[52.5,13.4]"),
        (7, "7"),
        (True, "true"),
        ("{no json", "{no json"),
    )
    objects = ({}, None, "", "{}", {"a": 1}, '{"a": 1}')
    for name in ("device_info", "geo_location"):
        rows = judge(*(event | {name: value, "note": "x"} for value, _ in none))
        for row, (_, kept) in zip(rows, none, strict=True):
            assert (row["failures"], row["warnings"]) == ([], [warning.format(name)])
            assert row["properties"] == {"note": "x", name: kept}
            assert row[name] == {}
        rows = judge(*(event | {name: value} for value in objects))
        for row, value in zip(rows, objects, strict=True):
            assert (row["warnings"], row["properties"]) == ([], {})
            assert row[name] == ({"a": "1"} if value and "a" in value else {})
    (row,) = judge(event | {"device_info": "x", "geo_location": "y"})
    assert row["properties"] == {"device_info": "x", "geo_location": "y"}
    assert row["warnings"] == [warning.format("device_info"), warning.format("geo_location")]


def test_no_map_has_a_key_twice(judge, event):
    text = json.dumps(event).encode()[:-1]
    twice = b'{"os":"a","v":"1","os":"b"}'
    extra = b',"utm":"a","x":1,"utm":"b","device_info":' + twice + b',"geo_location":' + twice
    (row,) = judge(text + extra + b',"geo_location":{"os":"c"}}')
    assert row["properties"] == {"utm": "a", "x": "1"}
    assert row["device_info"] == row["geo_location"] == {"os": "a", "v": "1"}
    (counted,) = judge(
        text + b"," + b",".join(b'"k%d":1,"k%d":2' % (n, n) for n in range(20_000)) + b"}"
    )
    assert len(counted["properties"]) == 20_000
    assert set(counted["properties"].values()) == {"1"}


def test_a_warning_lets_the_event_pass(judge, event):
    (row,) = judge(event | {"event": "purchase", "device": "fridge"})
    assert row["failures"] == []
    assert row["warnings"] == [
        "invalid_value|device|device_known",
        "condition_failed|amount|purchase_has_amount",
    ]


def test_the_first_of_two_equal_keys_counts(judge, event):
    text = b'{"event_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","event":"click","user_id":5,'
    (row,) = judge(text + b'"timestamp":"2026-01-01T11:00:00Z","event":"nonsense","user_id":-1}')
    assert (row["failures"], row["event_type"], row["user_id"]) == ([], "click", "5")


@pytest.mark.parametrize(
    ("config", "passing", "failing", "reason"),
    [
        ({"check": "required", "field": "sku"}, "a", "", "missing_field"),
        ({"check": "type", "field": "sku", "type": "string"}, "5", 5, "invalid_type"),
        ({"check": "type", "field": "sku", "type": "string"}, "true", True, "invalid_type"),
        ({"check": "type", "field": "sku", "type": "string"}, "{", {}, "invalid_type"),
        ({"check": "type", "field": "sku", "type": "number"}, "1e3", "1e", "invalid_type"),
        ({"check": "type", "field": "sku", "type": "integer"}, -5, 5.5, "invalid_type"),
        ({"check": "type", "field": "sku", "type": "boolean"}, True, "yes", "invalid_type"),
        ({"check": "type", "field": "sku", "type": "object"}, {"a": 1}, "{}", "invalid_type"),
        ({"check": "type", "field": "sku", "type": "array"}, [1], "[1]", "invalid_type"),
        (
            {"check": "type", "field": "sku", "type": "timestamp"},
            "2026-01-01T00:00Z",
            "2026",
            "invalid_type",
        ),
        ({"check": "length", "field": "sku", "min": 2, "max": 3}, "öö", "öööö", "invalid_value"),
        ({"check": "allowed_values", "field": "sku", "values": [1, "b"]}, 1, "c", "invalid_value"),
        (
            {"check": "pattern", "field": "sku", "pattern": r"^\d+'\\$"},
            "1'\\",
            "1",
            "invalid_value",
        ),
        ({"check": "range", "field": "sku", "max": 5}, 5, 5.01, "out_of_range"),
        (
            {"check": "time_range", "field": "sku", "min": "2026-01-01T00:00:00Z"},
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:59:59+01:00",
            "out_of_range",
        ),
        (
            {
                "check": "condition",
                "when": {"field": "page", "op": "present"},
                "then": {
                    "any": [
                        {"field": "sku", "op": "greater", "other_field": "user_id"},
                        {"not": {"field": "sku", "op": "matches", "pattern": "^[0-9]"}},
                    ]
                },
            },
            124,
            123,
            "condition_failed",
        ),
    ],
    ids=str,
)
def test_each_kind_of_check(judge, event, config, passing, failing, reason):
    rows = judge(event | {"sku": passing}, event | {"sku": failing}, rules=[rule(**config)])
    assert rows[0]["failures"] == []
    assert [f.split("|")[0] for f in rows[1]["failures"]] == [reason]


@pytest.mark.parametrize(
    ("config", "given", "made"),
    [
        ({"transform": "trim", "field": "sku"}, " \ta b\n", "a b"),
        ({"transform": "case", "field": "sku", "to": "upper"}, "äb", "ÄB"),
        ({"transform": "default", "field": "sku", "value": 7}, None, "7"),
        ({"transform": "map", "field": "sku", "values": {"a": "b"}}, "a", "b"),
        ({"transform": "map", "field": "sku", "values": {"a": "b"}, "otherwise": "?"}, "x", "?"),
        ({"transform": "mask", "field": "sku", "keep_last": 2}, "abcä", "**cä"),
        ({"transform": "mask", "field": "sku", "keep_last": 9}, "abc", "***"),
        (
            {"transform": "hash", "field": "sku", "salt": "s"},
            "abc",
            "f14bbbbc68f6ab1f8d99d4bf45b6a6f7ae44cfcd36aa3ac6a6efb7c9d5d6a45b",
        ),
    ],
    ids=str,
)
def test_each_transformation(judge, event, config, given, made):
    if config["transform"] == "hash":
        import hashlib

        made = hashlib.sha256(b"sabc").hexdigest()
    (row,) = judge(event | {"sku": given, "kept": "x"}, rules=[rule(**config)])
    assert row["properties"] == {"sku": made, "kept": "x"}


def test_rename_moves_a_field_into_the_contract(judge, event):
    del event["page"]
    renamed = rule(transform="rename", field="url", to="page")
    first, second = judge(
        event | {"url": "/a"}, event | {"url": "/a", "page": "/b"}, rules=[renamed]
    )
    assert (first["page"], first["properties"]) == ("/a", {})
    assert (second["page"], second["properties"]) == ("/b", {"url": "/a"})


def test_user_agent_becomes_device(judge, event):
    del event["device"]
    agent = (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Mobile Safari/604"
    )
    (row,) = judge(event | {"ua": agent}, rules=[rule(transform="user_agent", field="ua")])
    assert row["device"] == "mobile"
    assert row["device_info"] == {"os": "ios", "browser": "safari"}


CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0"
AGENTS = (
    ("tablet", f"Mozilla/5.0 (Linux; Android 13; SM-X900) {CHROME} Safari/537.36"),
    ("tablet", "Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/118.0 Firefox/118.0"),
    ("tablet", "Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) Version/16.5 Mobile Safari/604.1"),
    ("tablet", "Mozilla/5.0 (Linux; Android 9; KFMAWI) Silk/118.3 like Chrome/118 Safari/537.36"),
    ("mobile", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"),
    ("mobile", f"Mozilla/5.0 (Linux; Android 16; Pixel 9) {CHROME} Mobile Safari/537.36"),
    ("mobile", f"Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) {CHROME} Mobile Safari/537.36"),
    ("mobile", f"Mozilla/5.0 (Linux; Android 9; Cubot_P30) {CHROME} Mobile Safari/537.36"),
    ("mobile", "Opera/9.80 (Android; Opera Mini/36.2/191.249; U; en) Presto/2.12 Version/12.16"),
    ("mobile", "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A.230805.001)"),
    ("mobile", "Bottega/7.2 (iPhone; iOS 17.4; Scale/3.00)"),
    ("bot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    ("bot", f"Mozilla/5.0 (Linux; Android 6.0.1) {CHROME} Mobile (compatible; Googlebot/2.1)"),
    (
        "bot",
        f"Mozilla/5.0 (X11; Linux x86_64) {CHROME.replace('Chr', 'HeadlessChr')} Safari/537.36",
    ),
    ("bot", "Googlebot-Image/1.0"),
    ("bot", "Bot/1.0"),
    ("bot", "facebot"),
    ("tv", "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) Version/6.0 TV Safari/537.36"),
    ("tv", f"Mozilla/5.0 (Linux; Android 9; AFTMM) {CHROME} Safari/537.36"),
    ("tv", f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7) Silk/118 {CHROME} Mobile Safari/537"),
    ("tv", f"Mozilla/5.0 (Linux; Android 12) {CHROME} CrKey/1.56 DeviceType/AndroidTV"),
    ("desktop", f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Safari/537.36"),
    ("desktop", "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)"),
    ("desktop", f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36"),
    ("", "analytics-python/2.4.0"),
    ("", "Go-http-client/2.0 (Linux)"),
)


def test_devices_are_told_by_their_agents(judge, event):
    del event["device"]
    sent = [event | {"ua": agent} for _, agent in AGENTS]
    rows = judge(*sent, rules=[rule(transform="user_agent", field="ua")])
    assert [(row["device"], agent) for row, (_, agent) in zip(rows, AGENTS, strict=True)] == [
        *AGENTS
    ]


def test_the_ingestion_api_tells_devices_as_the_gate_does():
    assert [(devices.kind_by_agent(agent), agent) for _, agent in AGENTS] == [*AGENTS]


def test_a_validation_sees_what_transformations_made(judge, event):
    rules = [
        rule("upper", transform="case", field="country", to="upper"),
        rule("code", check="pattern", field="country", pattern="^[A-Z]{2}$"),
    ]
    (row,) = judge(event | {"country": "de"}, rules=rules)
    assert (row["country"], row["failures"]) == ("DE", [])


def test_a_rule_of_one_event_type_leaves_others_alone(judge, event):
    only = rule(check="required", field="sku", event_type="click")
    rows = judge(event, event | {"event": "click"}, rules=[only])
    assert [len(row["failures"]) for row in rows] == [0, 1]


def test_users_are_held_from_a_moment_to_another(judge, event):
    arrived = 1767268800000  # KAFKA_TIME
    held = [
        {"user_id": 5, "from": arrived, "until": arrived + 1},
        {"user_id": 6, "from": arrived + 1, "until": arrived + 9},
        {"user_id": 7, "from": arrived - 9, "until": arrived},
    ]
    steady = rule("steady", check="user_rate", deviations=9)
    around = replace(AROUND, baselines={"steady": held})
    rows = judge(*(event | {"user_id": n} for n in (5, 6, 7, 8)), rules=[steady], around=around)
    assert [row["failures"] for row in rows] == [["anomalous|user_id|steady"], [], [], []]
    (row,) = judge(event | {"user_id": 5}, rules=[steady])
    assert row["failures"] == []
