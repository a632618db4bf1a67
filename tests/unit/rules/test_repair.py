"""Repairs of single messages: what is not repaired stays as it came."""

from __future__ import annotations

import pytest

from millrace.rules import repair

UPPER = [{"transform": "case", "field": "country", "to": "upper"}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"country":"de"}', b'{"country":"DE"}'),
        (b' {"a" : 1.50 ,\n"country": "de" } ', b'{"a":1.50,"country":"DE"}'),
        (
            b'{"n":12345678901234567.0,"big":1e400,"country":"de"}',
            b'{"n":12345678901234567.0,"big":1e400,"country":"DE"}',
        ),
        (b'{"country":"de","country":"fr","x":[1.0,{"y":2e2}]}', None),
        (
            b'{"n":' + b"9" * 5_000 + b',"country":"de"}',
            b'{"n":' + b"9" * 5_000 + b',"country":"DE"}',
        ),
        (b"{}", b"{}"),
    ],
)
def test_only_the_repaired_field_changes(before, after):
    wanted = after or b'{"country":"DE","x":[1.0,{"y":2e2}]}'
    assert repair.apply(before, UPPER) == wanted


@pytest.mark.parametrize(
    "value",
    [
        b'{"title":"cut \\ud83d","country":"de"}',
        b'{"a":{"\\ud83d":1},"country":"de"}',
        b'{"\\udc00":1,"country":"de"}',
        b'{"country":"de"',
        b'{"country":"de",}',
        b'{"country":"de"} x',
        b'{"country" "de"}',
        b'{1:2,"country":"de"}',
        b'["de"]',
        b"\xff",
        b"",
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda value: str(value[:24]),
)
def test_what_can_not_be_written_is_left_as_it_was(value):
    assert repair.apply(value, UPPER) == value


def test_a_field_keeps_its_text_when_it_is_renamed():
    steps = [{"transform": "rename", "field": "uid", "to": "user_id"}]
    value = b'{"uid":12345678901234567.0,"a":null}'
    assert repair.apply(value, steps) == b'{"a":null,"user_id":12345678901234567.0}'
