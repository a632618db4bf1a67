"""Rules judged together come out as they do alone, whatever the others of their batch do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import promql_parser
import pytest
from tests.integration.promql.expressions import ERRORS, EXPRESSIONS
from tests.integration.promql.samples import START
from tests.integration.promql.stored import TestSamples, stored

from millrace.alerts import evaluation, promql
from millrace.alerts.evaluation import Evaluator, Row, batches
from millrace.alerts.model import Result, Rule
from millrace.settings import Settings

FIRST = datetime.fromtimestamp(START, UTC) + timedelta(minutes=99)
LAST = FIRST + timedelta(minutes=2)
OTHER_METRIC = {
    "page_views": "page_errors", "page_errors": "page_views", "handled_total": "lag",
    "lag": "odd_values", "target": "info", "info": "target", "constants": "page_views",
}  # fmt: skip
OTHER_VALUE = {"US": "FR", "mobile": "desktop", "page_.*": "page_v.*"}
Outcome = dict[datetime, dict[str, Result]]


@pytest.fixture(autouse=True)
def samples(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(evaluation, "StoredSamples", TestSamples)
    with stored(settings):
        yield


def other(expression: str) -> str:
    """Return an expression of the same shape with other metrics, label values and numbers."""

    def changed(part: Any) -> Any:
        if isinstance(part, promql_parser.NumberLiteral):
            return promql_parser.parse(str(part.val * 0.5 + 1))
        if isinstance(part, promql_parser.VectorSelector):
            part.name = part.name and OTHER_METRIC.get(part.name, part.name)
            part.matchers = promql_parser.Matchers(
                [
                    promql_parser.Matcher(m.op, m.name, OTHER_VALUE.get(m.value, m.value))
                    for m in part.matchers.matchers
                ]
            )
            return promql_parser.parse(str(part))
        return None

    if "\\" in expression:
        return expression  # the parser does not escape what it prints
    return str(promql_parser.transform(promql_parser.parse(expression), changed).prettify())


def rules(*expressions: str) -> list[Rule]:
    return [Rule(f"rule_{i}", text, "warning", "me", "", []) for i, text in enumerate(expressions)]


def judged(settings: Settings, subjects: list[Rule]) -> Outcome:
    with Evaluator(settings) as evaluator:
        return evaluator.evaluate(subjects, FIRST, LAST)


def alone(settings: Settings, subjects: list[Rule], monkeypatch: pytest.MonkeyPatch) -> Outcome:
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "BATCH_LIMIT", 1)
        return judged(settings, subjects)


def unequal(one: Outcome, two: Outcome, subjects: list[Rule]) -> list[Any]:
    return [
        (rule.expression, one[minute][rule.name], two[minute][rule.name])
        for minute in one
        for rule in subjects
        if not same(one[minute][rule.name], two[minute][rule.name])
    ]


def same(one: Result, two: Result) -> bool:
    values = zip([v for _, v in one.series], [v for _, v in two.series], strict=False)
    return (
        (one.status, one.missing) == (two.status, two.missing)
        and [labels for labels, _ in one.series] == [labels for labels, _ in two.series]
        and all(
            a == b or math.isclose(a, b) or (math.isnan(a) and math.isnan(b)) for a, b in values
        )
        and one.detail.partition(" (")[0] == two.detail.partition(" (")[0]
    )


def test_what_prometheus_was_asked_comes_out_the_same_in_batches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each pair one is judged alone, now the first and now the second."""
    one_of_each = {promql.parse(text).shape.key: text for text in [*EXPRESSIONS, *ERRORS]}
    subjects = rules(*(copy for text in one_of_each.values() for copy in (text, other(text))))
    assert len(batches(subjects)) == len(one_of_each)
    together = judged(settings, subjects)
    some = [rule for i, rule in enumerate(subjects) if i % 4 in (0, 3)]
    assert not unequal(together, alone(settings, some, monkeypatch), some)
    statuses: Mapping[str, int] = {
        status: sum(result.status == status for result in together[LAST].values())
        for status in ("ok", "no_data", "error")
    }
    assert all(count > 10 for count in statuses.values()), statuses


def test_a_full_batch_of_one_metric(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule has its own matchers and threshold, and the middle one has no samples."""
    countries = ("US", "DE", "FR", "BR", "nowhere")
    subjects = rules(
        *(
            f'page_views{{country="{countries[i % 5]}",device!~"t.*|{i}"}} > {i * 5}'
            for i in range(40)
        )
    )
    assert len(batches(subjects)) == 1
    together = judged(settings, subjects)
    assert not unequal(together, alone(settings, subjects, monkeypatch), subjects)
    assert [together[LAST][f"rule_{i}"].status for i in range(5)] == ["ok"] * 4 + ["no_data"]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that an evaluator runs."""
    seen: list[str] = []
    run = Evaluator.rows

    def rows(self: Evaluator, query: str, first: datetime, last: datetime) -> list[Row]:
        seen.append(query)
        return run(self, query, first, last)

    monkeypatch.setattr(Evaluator, "rows", rows)
    return seen


def test_a_rule_that_fails_takes_no_other_with_it(
    settings: Settings, statements: list[str]
) -> None:
    good = [f"threshold * on (country) once > {i}" for i in range(31)]
    subjects = rules(*good[:7], "page_views * on (country) target > 1", *good[7:])
    assert len(batches(subjects)) == 1
    with Evaluator(settings) as evaluator:
        found = evaluator.evaluate(subjects, LAST, LAST)[LAST]
    assert "must be unique" in found["rule_7"].detail
    assert [name for name, result in found.items() if result.status != "ok"] == ["rule_7"]
    assert len(statements) == 1 + 2 * 5  # found by halving 32


class SlowSamples(TestSamples):
    """Those of the metric ``slow`` take six seconds to read."""

    def select(self, names: Sequence[str] | None, condition: str, since: str, until: str) -> str:
        """Return the SELECT of samples that the compiler asks for."""
        found = super().select(names, condition, since, until)
        if "slow" not in (names or ()):
            return found
        return (
            f"{found} UNION ALL SELECT map('__name__', 'slow'), toInt64({until}), 2. "
            "FROM numbers(6) WHERE sleepEachRow(1) = 0 SETTINGS max_block_size = 1"
        )


def test_a_rule_that_takes_too_long_is_waited_for_once_more(
    settings: Settings, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "TIMEOUT_SECONDS", 2)
    monkeypatch.setattr(evaluation, "StoredSamples", SlowSamples)
    subjects = rules("threshold > 1", "slow > 1", "page_views > 0", "once > 1", "lag > 0")
    assert len(batches(subjects)) == 1
    with Evaluator(settings) as evaluator:
        found = evaluator.evaluate(subjects, LAST, LAST)[LAST]
    assert "TIMEOUT_EXCEEDED" in found["rule_1"].detail
    assert [name for name, result in found.items() if result.status == "error"] == ["rule_1"]
    assert len(statements) == 1 + 5


def test_too_many_series_are_one_rules_mistake(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SERIES_LIMIT", 8)
    found = judged(settings, rules("threshold > 1", "page_views > 0", "once > 1", "lag >= 0"))[LAST]
    assert [result.status for result in found.values()] == ["ok", "error", "ok", "ok"]
    assert "more than 8 series" in found["rule_1"].detail


def test_an_expression_that_is_no_longer_covered_is_its_own_error(settings: Settings) -> None:
    found = judged(settings, rules("threshold > 1", "count_values('v', lag)", "lag >"))[LAST]
    assert [result.status for result in found.values()] == ["ok", "error", "error"]
