"""Translation: ids, people, times, names, and properties that are called like the contract's."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from millrace.api.ingestion import devices, moments
from millrace.api.ingestion.families.family import Account
from millrace.api.ingestion.translation import Context, Translation, event_id_of
from millrace.contract import people

from .senders import ACCOUNT, CHROME, RECEIVED_AT, request

SENT = {"message_id": "m-1", "moment": "2026-11-29T07:59:59.000Z", "user": 7}


def one(translation: Translation | None = None, name: Any = "click", **sent: Any) -> dict[str, Any]:
    translation = translation or Translation(request("POST", "/x"), ACCOUNT)
    return translation.event(name, **{**SENT, **sent})


def test_a_message_id_that_is_a_uuid_is_the_event_id() -> None:
    written = "5f0c9f5e-3c1b-4d6e-9a52-0d9c1c2f7a10"
    for text, expected in (
        (written, written),
        (written.upper(), written.upper()),
        (written.replace("-", ""), written),
    ):
        event = one(message_id=text)
        assert event["event_id"] == expected == event_id_of(text, "shop")
        assert "message_id" not in event


def test_another_message_id_makes_a_uuid_of_source_and_id_and_is_kept() -> None:
    event = one(message_id="ajs-next-1-x")
    made = uuid.UUID(event["event_id"])
    assert (made.version, made.variant) == (5, uuid.RFC_4122)
    assert event["message_id"] == "ajs-next-1-x"
    assert event["event_id"] == event_id_of("ajs-next-1-x", "shop")
    assert event["event_id"] != event_id_of("ajs-next-1-x", "blog")
    namespace = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "https://millrace.dev/sources"), "shop")
    assert made == uuid.uuid5(namespace, "ajs-next-1-x")


def test_an_event_without_an_id_gets_one_of_its_content_the_same_when_sent_again() -> None:
    def sent(raw: Any) -> list[str]:
        translation = Translation(request("POST", "/x"), ACCOUNT)
        return [one(translation, message_id=None, raw=raw)["event_id"] for _ in range(2)]

    first = sent({"a": 1, "b": 2})
    assert first == sent({"b": 2, "a": 1})
    assert len(set(first)) == 2, "two alike ones in a request are two"
    assert set(first).isdisjoint(sent({"a": 2, "b": 2}))


def test_two_alike_events_without_id_and_time_are_two() -> None:
    again = request("POST", "/x")
    again.request_id = "request-2"
    made = {
        one(Translation(asked, ACCOUNT), message_id=None, moment=None, raw={})["event_id"]
        for asked in (request("POST", "/x"), again)
    }
    assert len(made) == 2


@pytest.mark.parametrize("number", [7, "7", 7.0, (1 << 64) - 1, str((1 << 64) - 1)])
def test_a_user_who_is_a_number_is_that_number(number: Any) -> None:
    event = one(user=number, anonymous="a")
    assert event["user_id"] == int(number)
    assert "original_user_id" not in event
    assert event["anonymous_id"] == "a"


@pytest.mark.parametrize(
    "text", ["u1", "007", "+7", "0", "\u0667", str(1 << 64), "-1", "a" * 10_000]
)
def test_a_user_who_is_none_is_hashed_and_the_id_is_kept(text: str) -> None:
    event = one(user=text)
    assert event["user_id"] == people.number_of(text, ACCOUNT.hash_key)
    assert 1 << 62 <= event["user_id"] < 1 << 63
    assert event["original_user_id"] == text


@pytest.mark.parametrize("number", [12345678901234567.0, 9007199254740993.0, 1e18, 7.5])
def test_a_number_that_was_rounded_is_nobody_elses_id(number: float) -> None:
    event = one(user=number)
    assert event["original_user_id"] == str(number)
    assert event["user_id"] == people.hashed(str(number), ACCOUNT.hash_key)


def test_a_person_is_the_same_on_every_source_and_another_under_another_key() -> None:
    other = Account("blog", {}, ACCOUNT.hash_key)
    assert (
        one(Translation(request("POST", "/x"), other), user="u1")["user_id"]
        == (one(user="u1")["user_id"])
    )
    assert people.number_of("u1", b"1") != people.number_of("u1", b"2")


def test_somebody_unknown_is_who_the_device_says() -> None:
    event = one(user=None, anonymous="device-1")
    assert event["user_id"] == people.number_of("device-1", ACCOUNT.hash_key)
    assert event["anonymous_id"] == "device-1"
    assert "user_id" not in one(user="", anonymous=None)


@pytest.mark.parametrize("value", [True, ["u"], {"id": 1}])
def test_a_user_that_cant_be_read_is_passed_on_for_the_gate_to_reject(value: Any) -> None:
    assert one(user=value)["user_id"] == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-29T07:59:59.123Z", "2026-11-29T07:59:59.123Z"),
        ("2026-11-29T07:59:59.123456+00:00", "2026-11-29T07:59:59.123Z"),
        ("2026-11-29 09:59:59+02:00", "2026-11-29T07:59:59.000Z"),
        (1795939199123, "2026-11-29T07:59:59.123Z"),
        ("1795939199123", "2026-11-29T07:59:59.123Z"),
        (1795939199, "2026-11-29T07:59:59.000Z"),
        (1795939199.5, "2026-11-29T07:59:59.500Z"),
        (1795939199123456, "2026-11-29T07:59:59.123Z"),
        (1795939199123456789, "2026-11-29T07:59:59.123Z"),
        (None, "2026-11-29T08:00:00.000Z"),
    ],
)
def test_times_become_iso_in_utc_with_milliseconds(value: Any, expected: str) -> None:
    assert one(moment=value)["timestamp"] == expected


@pytest.mark.parametrize(
    "value",
    [
        *("yesterday", "2026-11-29T07:59:59", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        *({"at": 1}, True, 1e300, 10**40),
    ],
)
def test_a_time_that_cant_be_read_is_passed_on_for_the_gate_to_reject(value: Any) -> None:
    assert one(moment=value)["timestamp"] == value


@pytest.mark.parametrize(
    ("sent_at", "expected", "original"),
    [
        ("2026-11-29T07:59:30.000Z", "2026-11-29T07:59:59.000Z", None),
        ("2026-11-29T11:00:00.000Z", "2026-11-29T04:59:59.000Z", "2026-11-29T07:59:59.000Z"),
        ("2026-11-29T05:00:00.000Z", "2026-11-29T10:59:59.000Z", "2026-11-29T07:59:59.000Z"),
        ("nonsense", "2026-11-29T07:59:59.000Z", None),
        (RECEIVED_AT + 61_000, "2026-11-29T07:58:58.000Z", "2026-11-29T07:59:59.000Z"),
    ],
)
def test_a_clock_is_corrected_only_if_it_is_far_off(
    sent_at: Any, expected: str, original: str | None
) -> None:
    event = one(Translation(request("POST", "/x"), ACCOUNT, sent_at))
    assert event["timestamp"] == expected
    assert event.get("original_timestamp") == original


def test_how_far_off_is_a_setting_of_the_source() -> None:
    account = Account("shop", {"skew_seconds": 86_400}, b"k")
    event = one(Translation(request("POST", "/x"), account, "2026-11-29T11:00:00Z"))
    assert event["timestamp"] == "2026-11-29T07:59:59.000Z"


def test_names_go_by_the_sources_aliases_before_the_familys() -> None:
    account = Account("shop", {"aliases": {"$pageview": "seen"}}, b"k")
    own = Translation(request("POST", "/x"), account, aliases={"$pageview": "page_view", "a": "b"})
    assert one(own, "$pageview")["event"] == "seen"
    assert one(own, "$pageview")["original_event"] == "$pageview"
    assert one(own, "a")["event"] == "b"
    assert "original_event" not in one(own, "click")
    assert "event" not in one(own, None)


def test_properties_never_hide_what_the_contract_names_and_none_is_lost() -> None:
    sent = {
        "user_id": "evil",
        "event_id": 5,
        "timestamp": "then",
        "event": "other",
        "country": "Germany",
        "device": "iPhone",
        "page": "/a",
        "n": 1,
    }
    event = one(properties=sent)
    assert (event["user_id"], event["event"], event["page"], event["n"]) == (7, "click", "/a", 1)
    kept = {"user_id": "evil", "event_id": 5, "timestamp": "then", "event": "other"}
    for name, value in {**kept, "country": "Germany", "device": "iPhone"}.items():
        assert event["property_" + name] == value
    assert not {"country", "device"} & event.keys()


def test_properties_that_fit_the_contract_fill_it_where_the_context_does_not() -> None:
    context = Context(page="/context")
    event = one(context=context, properties={"page": "/own", "country": "DE", "device": "tv"})
    assert (event["page"], event["property_page"]) == ("/context", "/own")
    assert (event["country"], event["device"]) == ("DE", "tv")
    assert one(properties=[1])["properties"] == [1]


def test_a_browsers_request_says_device_and_country_and_a_servers_does_not() -> None:
    headers = {"user-agent": CHROME, "cf-ipcountry": "DE"}
    event = one(Translation(request("POST", "/x", headers=headers), ACCOUNT))
    assert (event["device"], event["country"]) == ("desktop", "DE")
    headers["user-agent"] = "analytics-python/2.4.0"
    event = one(Translation(request("POST", "/x", headers=headers), ACCOUNT))
    assert not {"device", "country"} & event.keys()


def test_the_page_is_an_addresss_path() -> None:
    assert devices.path("https://shop.example/checkout?x=1#y") == "/checkout"
    assert devices.path("https://shop.example") == "/"
    assert devices.path("/plain") == "/plain"
    assert devices.path("https://[broken") == "https://[broken"


def test_milliseconds_before_1970_and_at_the_ends_of_time() -> None:
    assert moments.iso(moments.milliseconds("1969-12-31T23:59:59.999Z") or 0) == (
        "1969-12-31T23:59:59.999Z"
    )
    assert moments.iso(moments.milliseconds("9999-12-31T23:59:59.999Z") or 0) == (
        "9999-12-31T23:59:59.999Z"
    )
