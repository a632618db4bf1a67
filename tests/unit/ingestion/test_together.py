"""Events that are translated together become what each becomes alone."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from millrace.api.ingestion import columns, moments
from millrace.api.ingestion.columns import FEW

from .senders import CHROME, request, translate

AT = "2026-11-29T07:59:59.000"
ODD: dict[str, list[Any]] = {
    "type": ["page", "identify", None, "", 1],
    "event": ["Order Completed", "$pageview", None, "", 7, ["click"]],
    "userId": ["7", "0", 7, 7.5, True, None, "", "u" * 300, [1], "³"],
    "distinct_id": ["7", 7, None, "", [1]],
    "anonymousId": ["a", "8", 8, "", [1], True],
    "messageId": ["m-1", "391f967fbeff4f5d8e72409f0751ab09", "g" * 36, None, 7, ["x"]],
    "uuid": ["m-1", "391f967fbeff4f5d8e72409f0751ab09", "\n" * 36, None],
    "timestamp": [AT + "+00:00", AT, AT + "Z", AT + "+02:00", "2026-11-29", 1_795_939_199, None],
    "originalTimestamp": [AT + "Z", None],
    "sentAt": [AT + "Z", "2026-11-29T05:00:00Z", 1_795_939_199, True, None],
    "context": [None, {}, {"app": 1}, {"app": True}, {"page": {"path": "/a", "title": "A"}}, 5],
    "integrations": [{"All": False}, None],
    "properties": [
        None, {}, "text", {"a": 1}, {"user_id": 5}, {"page": "/p"}, {"event": "x"}, {"b": None},
        {"$os": "Mac", "a": 1}, {"$os": 1}, {"$os": True}, {"$current_url": "https://a/b", "a": 2},
        {"$set": {"mail": "x"}, "trait_mail": "y"}, {"$insert_id": "i"}, {"distinct_id": "z"},
    ],
    "offset": [1000, None],
    "extra": [1, {}],
}  # fmt: skip


def segment() -> dict[str, Any]:
    return {
        "type": "track",
        "event": "click",
        "userId": f"u{uuid.uuid4().hex}",
        "anonymousId": None,
        "messageId": str(uuid.uuid4()),
        "timestamp": AT + "123+00:00",
        "context": {"library": {"name": "analytics-python"}},
        "integrations": {},
        "properties": {"amount": 49.9, "currency": "EUR"},
    }


def posthog() -> dict[str, Any]:
    return {
        "event": "click",
        "distinct_id": f"u{uuid.uuid4().hex}",
        "uuid": str(uuid.uuid4()),
        "timestamp": AT + "Z",
        "properties": {"$lib": "posthog-python", "$lib_version": "7", "amount": 49.9},
    }


@pytest.mark.parametrize(("path", "make"), [("/v1/batch", segment), ("/batch/", posthog)])
@pytest.mark.parametrize("agent", ["posthog/7", CHROME])
def test_many_are_translated_as_each_is_alone(
    path: str, make: Callable[[], dict[str, Any]], agent: str
) -> None:
    rng = random.Random(7)
    headers = {"user-agent": agent, "cf-ipcountry": "DE"}
    for _ in range(400):
        batch = [make() for _ in range(FEW + 2)]
        for _ in range(rng.choice((0, 1, 1, 2))):
            name = rng.choice(list(ODD))
            value = rng.choice(ODD[name])
            # An oddity of one, or of all, as where an SDK is configured so.
            for event in batch if rng.random() < 0.6 else batch[:1]:
                event[name] = value
        for number, event in enumerate(batch):  # else two without an id would be told apart
            if isinstance(event.get("properties"), dict):
                event["properties"] = {**event["properties"], "number": number}
        sent = dict.fromkeys(("sentAt", "sent_at"), rng.choice([None, None, *ODD["sentAt"]]))
        alone = [
            one
            for event in batch
            for one in translate(request("POST", path, sent | {"batch": [event]}, headers=headers))
        ]
        together = translate(request("POST", path, sent | {"batch": batch}, headers=headers))
        assert [sorted(one) for one in together] == [sorted(one) for one in alone]
        assert repr([dict(sorted(one.items())) for one in together]) == repr(
            [dict(sorted(one.items())) for one in alone]
        ), batch


TIMES = [AT + end for end in ("Z", "+00:00", "123+00:00", "123456+00:00", "Z+00:00", "+02:00", "")]


@pytest.mark.parametrize("odd", [*TIMES, AT[:-4] + ",000Z", AT.replace("T", " ") + "Z", "", "7"])
@pytest.mark.parametrize("text", TIMES)
def test_times_are_read_together_as_each_is(text: str, odd: str) -> None:
    for texts in ([text], [text, text], [text, odd], [odd, text]):
        each = [moments.as_utc(one) for one in texts]
        together = moments.all_as_utc(texts)
        assert (
            together == each
            if together is not None
            else len({*map(len, texts)}) > 1 or (None in each)
        )


def test_a_table_is_of_objects_with_the_same_keys_only() -> None:
    assert columns.of([{"a": 1, "b": 2}, {"a": 3, "b": 4}]) == {"a": (1, 3), "b": (2, 4)}
    assert columns.of([{"a": 1}, {"b": 2}]) is None
    assert columns.of([{"a": 1}, [1]]) is None
    assert columns.of([]) is None


def test_texts_are_ids_together_if_each_is() -> None:
    one = str(uuid.uuid4())
    assert columns.are_ids([one, one.upper()])
    for odd in (one[:-1], one.replace("-", ""), one[:-1] + "g", one[:-1] + "\n", f"{one}\n{one}"):
        assert not columns.are_ids([one, odd])


def test_values_are_alike_only_as_texts_or_nothing() -> None:
    assert columns.are_alike(["a", "a"])
    assert columns.are_alike([None, None])
    for values in (["a", "b"], ["a", None], [1, True], [1, 1]):
        assert not columns.are_alike(values)
