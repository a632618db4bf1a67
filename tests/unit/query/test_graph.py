"""GraphQL over what answers questions: its arguments, its errors, its limits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.query.test_questions import ANYONE, REGISTRY

from millrace.access.roles import Principal
from millrace.api.query import graph
from millrace.api.query.answer import Answer, Cost, MetricAnswer, Point, Series
from millrace.api.query.questions import Question
from millrace.api.query.registry import Registry

COUNTRIES = ("DE", "US", "CH")
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Numbers:
    """Stands in for what answers questions."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def registry_of(self, _whose: Principal) -> Registry:
        """Everybody may ask everything."""
        return REGISTRY

    async def answer(self, question: Question, whose: Principal, *, max_age: float) -> Answer:
        """Answer three for every bucket, in as many groups as are asked for."""
        if question.compare:
            raise ZeroDivisionError("a secret")
        self.asked.append(question)
        self.max_age = max_age
        points = [Point(bucket, 3, "complete", "") for bucket in question.buckets]
        countries = COUNTRIES[: question.limit]
        series = [Series({"country": one}, points, 3 * len(points), None) for one in countries]
        views = MetricAnswer("views", "views", "sum", "Views", series)
        return Answer(question, None, [views], [], Cost(rollups={"hours"}), NOON, "g1")


def ask(query: str, numbers: Numbers | None = None, **variables: Any) -> dict[str, Any]:
    context = graph.Context(numbers or Numbers(), ANYONE)  # type: ignore[arg-type]
    return asyncio.run(graph.execute(query, variables, None, context))


def test_a_question_and_its_answer() -> None:
    numbers = Numbers()
    found = ask(
        """
        query ($range: String!) {
            answer(metrics: ["views"], range: $range, interval: "1h", groupBy: ["country"],
                   filter: {and: [{dimension: "device", value: "mobile"}]}, limit: 1) {
                start end completeUntil rollup generation cache rowsRead
                metrics { name series { group total points { start end value status } } }
            }
        }
        """,
        numbers,
        range="2026-11-29T10:00Z/PT1H",
    )
    assert found == {
        "data": {
            "answer": {
                "start": "2026-11-29T10:00:00+00:00",
                "end": "2026-11-29T11:00:00+00:00",
                "completeUntil": "2026-11-29T12:00:00+00:00",
                "rollup": ["hours"],
                "generation": "g1",
                "cache": "process",
                "rowsRead": 0.0,
                "metrics": [
                    {
                        "name": "views",
                        "series": [
                            {
                                "group": {"country": "DE"},
                                "total": 3.0,
                                "points": [
                                    {
                                        "start": "2026-11-29T10:00:00+00:00",
                                        "end": "2026-11-29T11:00:00+00:00",
                                        "value": 3.0,
                                        "status": "complete",
                                    }
                                ],
                            }
                        ],
                    }
                ],
            }
        }
    }
    (question,) = numbers.asked
    assert (question.group_by, question.limit) == (("country",), 2), "one tells whether more follow"
    assert "mobile" in question.key


def test_groups_come_in_pages() -> None:
    numbers, cursor, seen = Numbers(), "", []
    query = """
        query ($cursor: String!) {
            answer(metrics: ["views"], range: "today", groupBy: ["country"], limit: 2,
                   cursor: $cursor, maxAge: 5) { next metrics { series { group } } }
        }
    """
    while cursor is not None:
        found = ask(query, numbers, cursor=cursor)["data"]["answer"]
        seen.append([one["group"]["country"] for one in found["metrics"][0]["series"]])
        cursor = found["next"]
    assert seen == [["DE", "US"], ["CH"]]
    assert numbers.max_age == 5
    (error,) = ask(query, numbers, cursor="!")["errors"]
    assert error["extensions"]["code"] == "invalid_parameter"


def test_what_may_be_asked() -> None:
    found = ask("{ definitions { name kind dimensions } }")["data"]["definitions"]
    assert {"name": "users", "kind": "gauge", "dimensions": ["country", "device"]} in found


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('metrics: ["nosuch"]', "unknown_metric"),
        ('metrics: ["views"], range: "soon"', "invalid_parameter"),
        ('metrics: ["views"], tz: "Mars/Olympus"', "invalid_parameter"),
        ("metrics: []", "invalid_request"),
        ('metrics: ["views"], filter: {nosuch: 1}', "invalid_request"),
        ('metrics: ["views"], limit: 0', "invalid_request"),
        ('metrics: ["views"], maxAge: 61', "invalid_request"),
        ('metrics: ["views"], compare: "1d"', "internal_error"),
    ],
)
def test_an_error_has_the_code_of_a_problem(arguments: str, code: str) -> None:
    found = ask(f"{{ answer({arguments}) {{ generation }} }}")
    (error,) = found["errors"]
    assert error["extensions"]["code"] == code
    assert "secret" not in error["message"]
    assert found["data"] is None


@pytest.mark.parametrize(
    "query",
    [
        "",
        "{ nosuch }",
        "{ answer(",
        "fragment A on Query { __typename }",
        "mutation { answer }",
        "{ " + " ".join(f"a{n}: definitions {{ name }}" for n in range(40)) + " }",
        "{" + "a{" * 300,
        "{ definitions { name " + "name " * 2_000 + "} }",
    ],
)
def test_what_is_no_query_or_too_much(query: str) -> None:
    found = ask(query)
    assert found["data"] is None
    assert {error["extensions"]["code"] for error in found["errors"]} == {"invalid_query"}


def test_a_problem_tells_what_there_is() -> None:
    (error,) = ask('{ answer(metrics: ["nosuch"]) { generation } }')["errors"]
    assert "views" in error["extensions"]["metrics"]


@pytest.mark.parametrize("depth", [7, 60])
def test_fragments_that_multiply_are_refused_at_once(depth: int) -> None:
    """Walking them all would take 2^depth steps."""
    fragments = "".join(
        f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }} " for n in range(depth)
    )
    found = ask(f"{{ ...f0 }} {fragments} fragment f{depth} on Query {{ definitions {{ name }} }}")
    assert found["errors"][0]["extensions"]["code"] == "invalid_query"
    assert found["data"] is None


def test_a_fragment_that_spreads_itself_is_refused() -> None:
    found = ask("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }")
    assert "spreads itself" in found["errors"][0]["message"]


def test_a_fragment_may_be_used_in_another() -> None:
    found = ask(
        "{ ...all } fragment all on Query { definitions { ...one } }"
        " fragment one on Definition { name }"
    )
    assert {"name": "views"} in found["data"]["definitions"]
