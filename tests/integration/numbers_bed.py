"""What the tests of numbers ask, and what they count it from."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi.testclient import TestClient
from tests.integration.transform_bed import DAY, TODAY, Bench

DAYS = f"{TODAY - 3 * DAY:%Y-%m-%d}/{TODAY - DAY:%Y-%m-%d}"
"""Three days, of which the first has no event."""


def ask(api: TestClient, **parameters: Any) -> Any:
    answer = api.get("/v1/metrics", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def points(answer: Any, place: int = 0) -> dict[str, Any]:
    (metric,) = answer["metrics"]
    return {point["start"]: point["value"] for point in metric["series"][place]["points"]}


def hours(bench: Bench, **wanted: str) -> Counter[str]:
    """Count events by hour, as the answer names them."""
    return Counter(
        f"{event.event_time.replace(minute=0, second=0, microsecond=0):%Y-%m-%dT%H:%M:%SZ}"
        for event in bench.events
        if all(getattr(event, name) == value for name, value in wanted.items())
    )
