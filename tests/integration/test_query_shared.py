"""What one statement of the query API says for many questions."""

from __future__ import annotations

import itertools
from typing import Any

from fastapi.testclient import TestClient
from tests.integration.numbers_bed import ask
from tests.integration.transform_bed import DAY, TODAY, Bench

from millrace import waiting


def test_one_statement_answers_many_filters_of_what_runs(api: TestClient, bench: Bench) -> None:
    days = f"{TODAY - 3 * DAY:%Y-%m-%d}/{TODAY:%Y-%m-%d}"

    def asked(countries: str) -> tuple[int, dict[str, Any]]:
        answer = ask(api, name="events", range=days, filter=f"country:{countries}", max_age=60)
        return answer["metrics"][0]["series"][0]["total"], answer["statistics"]

    def is_shared(number: int) -> bool:
        """Ask with a filter that nobody asked with before."""
        found, cost = asked(f"DE|{number}")
        assert found == sum(event.country == "DE" for event in bench.events)
        return (cost["cache"], cost["rows_read"]) == ("process", 0)

    numbers = itertools.count()
    # Answers are kept while it is known, by a look every 0.8 s, that no rows changed.
    waiting.until(lambda: is_shared(next(numbers)), "rows to be shared", seconds=60)
    found, _ = asked("US|DE")
    assert found == sum(event.country in {"DE", "US"} for event in bench.events)
