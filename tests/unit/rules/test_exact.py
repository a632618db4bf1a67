"""Numbers and times in rules are compared as what they are, and no id becomes another on the way.

What should come out is worked out with Python's ``Decimal`` and whole nanoseconds.
"""

from __future__ import annotations

import json
import operator
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from millrace.rules import expressions
from millrace.rules.model import Rule, validate
from tests.unit.rules.reference import NUMBER, TIMESTAMP, moment, text_of

OPERATORS = {
    "equals": operator.eq,
    "not_equals": operator.ne,
    "less": operator.lt,
    "less_or_equal": operator.le,
    "greater": operator.gt,
    "greater_or_equal": operator.ge,
}
NUMBERS: tuple[float, ...] = (
    0, 1, -1, 0.1, 0.3, 0.1 + 0.2, 1e-7, 1.5e-10, 1e15, 1e16, 1e20, 1e21, 1e22, 1.5e300, -2.5e-300,
    2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**30, 10**30 + 1,
    12345678901234567, 12345678901234568, 123456.789, 100, 1e2, 4.35, 278908409818195070000,
)  # fmt: skip
WRITTEN = (
    "0.10", "1.0", "00100", "1e2", "12345678901234567.89", "12345678901234567.88", "0.3", "-1.50",
    "0.30000000000000001", "9007199254740993.0000001", "100.00000000000000000001", "+1", "1e-7",
    "0.0000001", "abc", "true", "5.", "18446744073709551617",
)  # fmt: skip
TIMES = (
    "2026-11-28T10:00:00Z", "2026-11-28T10:00:00.5Z", "2026-11-28T10:00:00.500Z",
    "2026-11-28T11:30:00+01:30", "2026-11-28 10:00Z", "2026-11-28T05:00:00.000-05:00",
    "2026-11-28T10:00:00.500000001Z", "2026-11-28T09:59:59.999999999Z", "1969-12-31T23:59:59.9999Z",
    "1969-12-31T23:59:59.999Z", "1500-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-28",
    "2026-11-28T10:00:00",
)  # fmt: skip


def read(value: Any) -> tuple[str, Decimal | None, int | None]:
    """Return a value's text, the number that it is, and the nanoseconds since 1970 of its time."""
    text = value if isinstance(value, str) else expressions.text_of(value)
    number = Decimal(text) if NUMBER.fullmatch(text) else None
    at = moment(text)
    if at is None:
        return text, number, None
    fraction = (TIMESTAMP.fullmatch(text)[7] or "").ljust(9, "0")  # type: ignore[index]
    whole = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return text, number, whole * 10**6 + int(fraction[3:])


def holds(value: Any, op: str, other: Any, *, is_field: bool) -> bool:
    """Say whether a comparison holds; a text of a rule is no number, one of a message may be."""
    text, number, at = read(value)
    other_text, other_number, other_at = read(other)
    if not text:
        return False
    compare = OPERATORS[op]
    if isinstance(other, str) and not is_field:
        other_number = None
    elif not is_field and number is None:
        return False
    if number is not None and other_number is not None:
        return bool(compare(number, other_number))
    if at is not None and other_at is not None:
        return bool(compare(at, other_at))
    return bool(compare(text.encode(), other_text.encode()))


def pairs(seed: int, count: int) -> list[tuple[Any, Any]]:
    """Return values that are close to each other, spelled alike or not, and far ones."""
    rng = random.Random(seed)

    def one() -> Any:
        kind = rng.randrange(5)
        if kind == 0:
            return rng.choice(WRITTEN)
        if kind == 1:
            return rng.choice(TIMES)
        if kind == 2:
            return rng.choice([-1, 1]) * (rng.choice([2**53, 10**17, 2**64]) + rng.randrange(-2, 3))
        number = rng.choice(NUMBERS)
        return str(number) if kind == 3 and abs(number) < 1e30 else number

    return [(one(), one()) for _ in range(count)]


def condition(name: str, op: str, **against: Any) -> Rule:
    then = {"field": "a", "op": op, **against}
    made = Rule(name, "validation", {"check": "condition", "then": then})
    validate(made)
    return made


@pytest.mark.parametrize("op", OPERATORS)
def test_comparisons_with_a_value_or_a_field_are_exact(judge, event, op):
    made = pairs(3, 400)
    rules = [condition("fields", op, other_field="b")]
    rules += [condition(f"value_{n}", op, value=other) for n, (_, other) in enumerate(made[:60])]
    rows = judge(*(event | {"a": a, "b": b} for a, b in made), rules=rules)
    for row, (a, b) in zip(rows, made, strict=True):
        failed = {failure.split("|")[2] for failure in row["failures"]}
        assert ("fields" not in failed) == holds(a, op, b, is_field=True), (a, op, b)
        for n, (_, value) in enumerate(made[:60]):
            expected = holds(a, op, value, is_field=False)
            assert (f"value_{n}" not in failed) == expected, (a, op, value)


def test_lists_hold_numbers_and_times_however_they_are_written(judge, event):
    made = pairs(5, 300)
    lists = [[other for _, other in made[n : n + 3]] for n in range(0, 60, 3)]
    rules = [Rule(f"in_{n}", "validation", {"check": "allowed_values", "field": "a", "values": v})
             for n, v in enumerate(lists)]  # fmt: skip
    rules += [condition(f"also_{n}", "in", values=values) for n, values in enumerate(lists)]
    rows = judge(*(event | {"a": a} for a, _ in made), rules=rules)
    for row, (a, _) in zip(rows, made, strict=True):
        failed = {failure.split("|")[2] for failure in row["failures"]}
        for n, values in enumerate(lists):
            expected = any(
                read(a)[0] == read(v)[0] or holds(a, "equals", v, is_field=False) for v in values
            )
            assert (f"in_{n}" not in failed) == expected, (a, values)
            assert (f"also_{n}" not in failed) == expected, (a, values)


def test_the_limits_of_ranges_are_exact(judge, event):
    limits = [2**53 + 1, 100, 0.3, 2**64, 12345678901234567, -1.5]
    rules = [Rule(f"{key}_{n}", "validation", {"check": "range", "field": "a", key: limit})
             for n, limit in enumerate(limits) for key in ("min", "max")]  # fmt: skip
    values = [a for a, _ in pairs(11, 300) if read(a)[1] is not None]
    rows = judge(*(event | {"a": a} for a in values), rules=rules)
    for row, a in zip(rows, values, strict=True):
        failed = {f.split("|")[2] for f in row["failures"] if f.startswith("out_of_range")}
        number = read(a)[1]
        assert number is not None
        for n, limit in enumerate(limits):
            edge = Decimal(repr(limit))
            assert (f"min_{n}" in failed) == (number < edge), (a, limit)
            assert (f"max_{n}" in failed) == (number > edge), (a, limit)


def test_times_are_compared_whatever_their_zone_and_precision(judge, event):
    order = [("10:00:00Z", "10:00:00.500Z"), ("11:30:00+02:00", "10:00:00Z"),
             ("10:00:00Z", "05:30:00-05:00"), ("10:00:00Z", "10:00:01Z"),
             ("10:00:00Z", "11:30:00+02:00")]  # fmt: skip
    made = [event | {"b": f"2026-11-28T{start}", "a": f"2026-11-28T{end}"} for start, end in order]
    rows = judge(*made, rules=[condition("order", "greater_or_equal", other_field="b")])
    assert [row["failures"] != [] for row in rows] == [False] * 4 + [True]


USERS = {
    "12345678901234567.0": None,
    "12345678901234568.0": "12345678901234568",
    "0.99999999999999999": None,
    "12.00000000000000000001": None,
    "12.0": "12",
    "12.000000000000000000000": "12",
    "1e3": "1000",
    "1.0e+15": "1000000000000000",
    "1.2345678901234567e16": None,
    "9007199254740993.0": None,
    "12345678901234567": "12345678901234567",
    '"12345678901234567"': "12345678901234567",
    "18446744073709551615": "18446744073709551615",
    "18446744073709551615.0": None,
}


@pytest.mark.parametrize(
    "form",
    ['"user_id":%s', '"user_id" : %s ', '"x":{"user_id":7},"user_id":%s', '"user_\\u0069d":%s'],
)
def test_no_user_becomes_another(judge, event, form):
    del event["user_id"]
    head = json.dumps(event).encode()[:-1]
    rows = judge(*(head + b"," + (form % written).encode() + b"}" for written in USERS))
    for row, (written, user) in zip(rows, USERS.items(), strict=True):
        if user is None or ("\\" in form and written.strip('"0123456789')):
            assert row["failures"] == ["invalid_type|user_id|contract"], written
        else:
            assert (row["failures"], row["user_id"]) == ([], user), written


def test_a_renamed_field_becomes_no_other_user(judge, event):
    del event["user_id"]
    rename = Rule("id", "transformation", {"transform": "rename", "field": "uid", "to": "user_id"})
    head = json.dumps(event).encode()[:-1]
    rows = judge(head + b',"uid":12345678901234567.0}', head + b',"uid":7}', rules=[rename])
    assert [row["failures"] for row in rows] == [["invalid_type|user_id|contract"], []]


def test_a_default_is_the_text_that_a_message_would_have(judge, event):
    sent = {f"a{n}": value for n, value in enumerate(NUMBERS)}
    rules = [
        Rule(name, "transformation", {"transform": "default", "field": name, "value": value})
        for name, value in sent.items()
    ]
    (made,) = judge(event, rules=rules)
    (read,) = judge(event | sent, rules=[])
    assert made["properties"] == read["properties"]
    assert made["properties"].keys() == sent.keys()


def test_a_number_beyond_float64_is_kept_as_text(judge, event):
    message = json.dumps(event | {"s": 'a "1e400" b'}).encode()[:-1]
    (row,) = judge(message + b',"n":1e400,"l":[-2.5E+999 , 1],"m":{"k":1e-400}}')
    assert row["failures"] == []
    assert row["properties"]["n"] == "1e400"
    assert row["properties"]["s"] == 'a "1e400" b'
    assert json.loads(row["properties"]["l"]) == ["-2.5E+999", 1]
    for broken in (b',"n":01e400}', b',"n":1.e400}', b",1e400:2}", b',"n":1e400x}'):
        assert judge(message + broken)[0]["failures"] == ["malformed_json||contract"]


@pytest.mark.parametrize("huge", [b"1e400", b"-1" + b"0" * 400, b"[1E+999]"])
def test_a_number_beyond_float64_hides_nothing_of_the_others(judge, event, huge):
    del event["user_id"]
    head = json.dumps(event).encode()[:-1] + b',"n":' + huge
    texts = Rule("t", "validation", {"check": "type", "field": "s", "type": "string"})
    lists = Rule("l", "validation", {"check": "type", "field": "a", "type": "array"})
    rows = judge(
        head + b',"user_id":12345678901234567.0}',
        head + b',"user_id":0.99999999999999999}',
        head + b',"user_id":12345678901234568.0,"s":"12345","a":[2e999]}',
        head + b',"user_id":7,"s":12345}',
        head + b',"user_id":7,"s":2e999}',
        head + b',"user_id":7,"a":"[2e999]"}',
        rules=[texts, lists],
    )
    assert [row["failures"] for row in rows] == [
        ["invalid_type|user_id|contract"],
        ["invalid_type|user_id|contract"],
        [],
        ["invalid_type|s|t"],
        ["invalid_type|s|t"],
        ["invalid_type|a|l"],
    ]


@pytest.mark.parametrize("value", NUMBERS)
def test_text_of_a_number_is_what_the_engine_writes(engine, value):
    message = json.dumps({"a": value})
    (row,) = engine.rows(f"SELECT JSONExtract('{message}', 'Map(String, String)')['a'] AS text")
    assert row["text"] == expressions.text_of(value)
    if abs(value) < 2**53:
        assert Decimal(text_of(value)) == Decimal(row["text"])
