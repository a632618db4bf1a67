"""Any body on any route: one event each, or a problem; never another exception, and as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.api.http import ProblemError, Request
from millrace.api.ingestion import credentials, families
from millrace.api.ingestion.batches import Batch, Outcome, Rejection
from tests.helpers.examples import examples

from .senders import ACCOUNT, RECEIVED_AT, request

NAMES = (
    *("batch", "events", "data", "payload", "properties", "event", "type", "context", "traits"),
    *("userId", "user_id", "distinct_id", "anonymousId", "device_id", "uid", "profileId", "id"),
    *("messageId", "uuid", "insert_id", "eid", "timestamp", "time", "dtm", "sentAt", "sent_at"),
    *("event_properties", "user_properties", "$set", "page", "device", "country", "location"),
    *("url", "u", "p", "e", "ue_pr", "co", "cx", "se_ac", "name", "n", "offset", "token", "stm"),
    *("device_info", "schema", "$current_url", "subject", "source", "groups", "$group_key"),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["track", "page", "ue", "pv", "$groupidentify", "https://[x", "{", "[1]", "1e9"]
    ),
)
OBJECT = st.deferred(
    lambda: st.dictionaries(
        st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), VALUE, max_size=7
    )
)
VALUE: st.SearchStrategy[Any] = st.one_of(SCALARS, st.lists(OBJECT, max_size=3), OBJECT)
HOLDERS = ("batch", "events", "data", "payload", "properties")
BODY = st.one_of(
    VALUE,
    st.builds(
        lambda name, held, more: {**more, name: held}, st.sampled_from(HOLDERS), VALUE, OBJECT
    ),
)
ROUTES = sorted({(method, path) for one in families.FAMILIES for method, path in one.routes})


def taken(asked: Request) -> Batch | None:
    """Go with a request as the app does; return its batch, unless it is refused."""
    family = families.find(asked.method, asked.path)
    assert family is not None
    credentials.find(asked, family)
    if family.discovery(asked) is not None:
        return None
    try:
        batch = family.read(asked, ACCOUNT)
    except ProblemError as problem:
        refused = family.refuse(asked, problem)
        assert refused.status in {400, 413, 422}
        return None
    rejections = [Rejection(index, "", "invalid_type") for index in range(len(batch.events))]
    answer = family.answer(asked, Outcome(len(batch.events), rejections))
    assert answer.status == 200
    for event in batch.events:
        as_sent = event if isinstance(event, bytes) else msgspec.json.encode(event)
        if not isinstance(event, bytes):
            assert {"event_id", "timestamp"} <= msgspec.json.decode(as_sent).keys()
    return batch


@pytest.mark.parametrize(("method", "path"), ROUTES)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(document=BODY)
def test_any_json_is_taken_event_by_event_or_refused(method: str, path: str, document: Any) -> None:
    path = path.replace("{key}", "k").replace("*", "track")
    asked = request(method, path, document)
    batch = taken(asked)
    if batch is None or not isinstance(document, dict):
        return
    wanted = {"/v1/batch": "batch", "/2/httpapi": "events", "/batch/": "batch"}.get(path)
    if wanted and isinstance(document.get(wanted), list):
        assert len(batch.events) == len(document[wanted])


@pytest.mark.parametrize(("method", "path"), ROUTES)
@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=60), query=st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(method: str, path: str, body: bytes, query: bytes) -> None:
    path = path.replace("{key}", "k").replace("*", "track")
    taken(Request(method, path, query, {}, body, "r", RECEIVED_AT, ""))
