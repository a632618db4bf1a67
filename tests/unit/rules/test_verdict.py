"""Many rules merged into one verdict find what each rule by itself would."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from millrace.contract.failures import REASONS
from millrace.rules.model import Rule, validate
from tests.unit.rules.reference import NUMBER, text_of

TYPES = ("page_view", "click", "purchase", "search")
WORDS = ("", "a", "b", "é", "mobile", "élan vital", "0")
NUMBERS = ("", "x", 0, -5, 3, 3.5, 10, "7", "1e2", "NaN")


def config(rng: random.Random) -> dict[str, Any]:
    """Return the config of a rule about one of two fields of text and two of numbers."""
    field = rng.choice(["sku", "page", "amount", "weight"])
    low, high = sorted([rng.randrange(-6, 12), rng.randrange(-6, 12)])
    return rng.choice(
        [
            {"check": "required", "field": field},
            {"check": "range", "field": field, "min": low, "max": high},
            {"check": "range", "field": field, "max": high},
            {"check": "length", "field": field, "min": abs(low)},
            {"check": "length", "field": field, "max": abs(high), "min": 1},
            {"check": "allowed_values", "field": field, "values": rng.sample(WORDS, 4)},
            {"check": "type", "field": field, "type": "number"},
        ]
    )


def broken_by(rule: Rule, event: dict[str, Any]) -> list[str]:
    """Return the reasons for which an event breaks one rule, in plain Python."""
    if rule.event_type not in (None, event["event"]):
        return []
    text, options = text_of(event.get(rule.config["field"])), rule.config
    if rule.kind == "required":
        return [] if text else ["missing_field"]
    if not text:
        return []
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    low, high = options.get("min", -math.inf), options.get("max", math.inf)
    if rule.kind == "length":
        return [] if low <= len(text) <= high else ["invalid_value"]
    if rule.kind == "allowed_values":
        return [] if text in options["values"] else ["invalid_value"]
    if not math.isfinite(number):
        return ["invalid_type"]
    return ["out_of_range"] if rule.kind == "range" and not low <= number <= high else []


def expected(rules: list[Rule], event: dict[str, Any]) -> list[str]:
    found = [
        (REASONS.index(reason), f"{reason}|{rule.config['field']}|{rule.name}")
        for rule in rules
        for reason in broken_by(rule, event)
    ]
    return [label for _, label in sorted(found, key=lambda one: one[0])]


@pytest.mark.parametrize("seed", range(6))
def test_merged_rules_find_what_each_would(judge, event, seed):
    rng = random.Random(seed)
    rules = [
        Rule(
            f"rule_{number:03}",
            "validation",
            config(rng),
            event_type=rng.choice([None, None, *TYPES]),
        )
        for number in range(rng.choice([3, 12, 60]))
    ]
    for rule in rules:
        validate(rule)
    events = [
        event
        | {"event": rng.choice([*TYPES, "other"])}
        | {field: rng.choice(WORDS) for field in ("sku", "page")}
        | {field: rng.choice(NUMBERS) for field in ("amount", "weight")}
        for _ in range(300)
    ]
    rows = judge(*events, rules=rules)
    assert [row["failures"] for row in rows] == [expected(rules, one) for one in events]
    warned = judge(*events, rules=[Rule(**rule.as_json() | {"mode": "warn"}) for rule in rules])
    assert [row["warnings"] for row in warned] == [expected(rules, one) for one in events]


def test_more_lists_of_values_than_bits(judge, event):
    rules = [
        Rule(
            f"rule_{number}",
            "validation",
            {"check": "allowed_values", "field": "sku", "values": [f"v{number}"]},
            event_type=f"type_{number}",
        )
        for number in range(70)
    ]
    of = [event | {"event": f"type_{number}"} for number in range(70)]
    good = judge(*(one | {"sku": f"v{n}"} for n, one in enumerate(of)), rules=rules)
    assert {tuple(row["failures"]) for row in good} == {()}
    bad = judge(*(one | {"sku": "v70"} for one in of), event | {"sku": "v70"}, rules=rules)
    assert [row["failures"] for row in bad] == [
        *([f"invalid_value|sku|rule_{n}"] for n in range(70)),
        [],
    ]


@pytest.mark.slow
def test_a_long_chain_of_transformations_fits_into_the_engine(judge, event):
    steps = [
        Rule(
            f"step_{n:03}",
            "transformation",
            {"transform": "map", "field": "sku", "values": {f"{n}": f"{n + 1}"}},
        )
        for n in range(120)
    ]
    (row,) = judge(event | {"sku": "0"}, rules=steps)
    assert row["properties"] == {"sku": "120"}
