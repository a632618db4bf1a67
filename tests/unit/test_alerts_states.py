"""The state machine: inactive, pending, firing, resolved, whatever was missed or repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.alerts import states
from millrace.alerts.model import Instance, Result, Rule

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOLDS = Result("ok", [({"country": "US"}, 5.0)])
FINE = Result("ok")
SILENT = Result("no_data", missing=["x"])
BROKEN = Result("error", detail="server gone")


def rule(**changes: Any) -> Rule:
    values = {
        "name": "slow", "expression": "x > 1", "severity": "warning", "owner": "me",
        "runbook": "docs/runbooks/slow.md", "routes": ["slack"], "for_seconds": 120,
        "no_data_for_seconds": 60,
    }  # fmt: skip
    return Rule(**{**values, **changes})  # type: ignore[arg-type]


def play(
    results: list[Result], gap_at: set[int] = frozenset(), **changes: Any
) -> tuple[dict[states.Key, Instance], list[tuple[int, str, str, str]]]:
    """Return the last states, and (minute, kind, from, to) of every transition."""
    subject = rule(**changes)
    before: dict[states.Key, Instance] = {}
    seen = []
    for i, result in enumerate(results):
        before, changed = states.advance(
            [subject], {subject.name: result}, before, START + i * MINUTE, after_gap=i in gap_at
        )
        seen += [(i, t.instance.kind, t.from_state, t.to_state) for t in changed]
    return before, seen


def test_pending_then_firing_then_resolved() -> None:
    _, seen = play([FINE, HOLDS, HOLDS, HOLDS, HOLDS, FINE])
    assert seen == [
        (1, "condition", "inactive", "pending"),
        (3, "condition", "pending", "firing"),
        (5, "condition", "firing", "resolved"),
    ]


def test_what_has_held_since_a_moment_to_come_waits_as_others_do() -> None:
    subject, year = rule(), timedelta(days=365)
    now, _ = states.advance([subject], {"slow": HOLDS}, {}, START + year)
    seen = []
    for minute in range(4):
        now, changed = states.advance([subject], {"slow": HOLDS}, now, START + minute * MINUTE)
        seen += [(minute, change.to_state) for change in changed]
    assert seen == [(2, "firing")]


def test_a_condition_that_does_not_last_never_fires() -> None:
    _, seen = play([HOLDS, HOLDS, FINE, HOLDS, HOLDS, FINE])
    assert [to for *_, to in seen] == ["pending", "inactive", "pending", "inactive"]


def test_without_for_it_fires_at_once() -> None:
    _, seen = play([HOLDS, FINE], for_seconds=0)
    assert [(t[2], t[3]) for t in seen] == [("inactive", "firing"), ("firing", "resolved")]


def test_an_error_changes_nothing() -> None:
    after, seen = play([HOLDS, HOLDS, HOLDS, BROKEN, BROKEN])
    assert [i.state for i in after.values()] == ["firing"]
    assert seen[-1][0] == 2


def test_missing_data_is_its_own_alert_and_resolves_nothing() -> None:
    after, seen = play([HOLDS, HOLDS, HOLDS, SILENT, SILENT])
    assert {(i.kind, i.state) for i in after.values()} == {
        ("condition", "firing"),
        ("no_data", "firing"),
    }
    assert (4, "no_data", "pending", "firing") in seen


def test_missing_data_can_be_ignored_but_still_resolves_nothing() -> None:
    after, _ = play([HOLDS, HOLDS, HOLDS, SILENT, SILENT], no_data="ignore")
    assert {(i.kind, i.state) for i in after.values()} == {("condition", "firing")}


def test_pending_waits_anew_after_minutes_that_nobody_judged() -> None:
    _, seen = play([HOLDS, HOLDS, HOLDS, HOLDS], gap_at={2})
    assert [(minute, to) for minute, _, _, to in seen] == [(0, "pending")]


def test_firing_outlasts_minutes_that_nobody_judged() -> None:
    after, _ = play([HOLDS, HOLDS, HOLDS, HOLDS], gap_at={3})
    assert [i.state for i in after.values()] == ["firing"]


@pytest.mark.parametrize("rules", [[], [rule(is_active=False)]])
def test_a_rule_that_is_gone_resolves(rules: list[Rule]) -> None:
    before, _ = play([HOLDS, HOLDS, HOLDS])
    after, changed = states.advance(rules, {}, before, START + 9 * MINUTE)
    assert not after
    assert [t.to_state for t in changed] == ["resolved"]


def test_series_are_alerts_of_their_own() -> None:
    both = Result("ok", [({"country": "US"}, 5.0), ({"country": "DE"}, 7.0)])
    after, seen = play([both, both, HOLDS], for_seconds=0)
    assert len(after) == 1
    assert [to for *_, to in seen] == ["firing", "firing", "resolved"]


results = st.lists(st.sampled_from([HOLDS, FINE, SILENT, BROKEN]), max_size=30)


@given(results, st.integers(0, 5))
def test_every_history_is_a_walk_of_the_machine(history: list[Result], wait: int) -> None:
    """Transitions chain up, and nothing fires before it was pending for as long as it must."""
    _, seen = play(history, for_seconds=wait * 60)
    position: dict[str, str] = {}
    since: dict[str, int] = {}
    for minute, kind, was, now in seen:
        assert position.get(kind, "inactive") == was
        if was == "inactive":
            since[kind] = minute
        if now == "firing":
            assert minute - since[kind] >= (wait if kind == "condition" else 1)
        position[kind] = "inactive" if now in ("inactive", "resolved") else now


@given(results, st.integers(0, 29))
def test_stopping_between_two_minutes_changes_nothing(history: list[Result], cut: int) -> None:
    """Judging in two runs, with the states kept between them, is judging in one."""
    subject = rule()
    whole, _ = play(history)
    first, _ = play(history[:cut])
    before = first
    for minute, result in enumerate(history[cut:], start=len(history[:cut])):
        at = START + minute * MINUTE
        before, _ = states.advance([subject], {subject.name: result}, dict(before), at)
    assert {key: i.state for key, i in before.items()} == {k: i.state for k, i in whole.items()}
