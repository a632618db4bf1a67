"""Events in the words of a source that calls the contract's fields otherwise."""

from __future__ import annotations

from millrace.api.ingestion.batches import renamed

NAMES = {"user_id": "uid", "event": "kind"}
EVENT = {"event": "buy", "user_id": 7, "amount": 3}


def test_fields_are_called_as_the_source_calls_them_and_bytes_are_not_touched() -> None:
    assert list(renamed([EVENT, b'{"uid": 8}'], NAMES)) == [
        {"kind": "buy", "uid": 7, "amount": 3},
        b'{"uid": 8}',
    ]
    assert renamed([EVENT], {})[0] is EVENT


def test_no_property_changes_whose_an_event_is() -> None:
    sent = {**EVENT, "uid": 9, "kind": "gift"}
    assert list(renamed([sent], NAMES)) == [
        {"kind": "buy", "uid": 7, "amount": 3, "property_uid": 9, "property_kind": "gift"}
    ]
    assert list(renamed([{"uid": 9}], NAMES)) == [{"property_uid": 9}]
