"""Whose a text is: the pattern that finds a person's id beside the name of the field."""

from __future__ import annotations

import json
import re

import pytest

from millrace.contract import personal

EVENT = {"event": "page_view", "user_id": 12, "mail": "a@example.org"}

OF_USER = [
    json.dumps(EVENT),
    json.dumps({**EVENT, "user_id": "12"}),
    json.dumps({"before": json.dumps(EVENT)}),
    json.dumps([json.dumps({"before": json.dumps(EVENT)})]),
    '{"user_id":12.0,"x":1}',
    '{"user_id" : 12',
    '{"uid":"0012"}',
    "user_id=12",
    "{'user_id':'12'}",
    "user_id: 12, page: /a",
]
OF_OTHERS = [
    json.dumps({**EVENT, "user_id": 120}),
    json.dumps({**EVENT, "user_id": 112}),
    json.dumps({**EVENT, "user_id": 12.5}),
    json.dumps({**EVENT, "user_id": 1, "n": 12}),
    json.dumps({"other_user_id": 12, "user_id": 1}),
    "12",
    "user_id",
]


@pytest.mark.parametrize("text", OF_USER)
def test_a_text_that_names_the_person_is_found(text: str) -> None:
    assert re.search(personal.mention([7, 12], ["user_id", "uid"]), text)


@pytest.mark.parametrize("text", OF_OTHERS)
def test_a_text_of_others_is_not(text: str) -> None:
    assert not re.search(personal.mention([7, 12], ["user_id", "uid"]), text)
