"""A wait ends with what was waited for, or with an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace import waiting


class HopelessError(Exception):
    """The server died."""


def test_the_answer_that_was_waited_for_is_returned() -> None:
    answers: Iterator[list[str]] = iter([[], [], ["ready"], ["too late"]])
    found = waiting.until(lambda: next(answers), "an answer", seconds=30, every=0.001)
    assert found == ["ready"]
    assert next(answers) == ["too late"]


def test_a_timeout_says_what_for_how_long_and_what_next() -> None:
    seen: list[int] = []

    def never() -> bool:
        seen.append(len(seen))
        return False

    with pytest.raises(HopelessError) as raised:
        waiting.until(
            never,
            "clickhouse to serve",
            seconds=0.05,
            every=0.001,
            up_to=0.01,
            hint=lambda: f"asked {len(seen)} times; see its log",
            error=HopelessError,
        )
    assert str(raised.value) == (
        f"waited 0.05 s for clickhouse to serve: asked {len(seen)} times; see its log"
    )
    assert len(seen) > 1


def test_what_the_condition_raises_ends_the_wait() -> None:
    asked: list[bool] = []

    def dies() -> bool:
        asked.append(True)
        if len(asked) == 3:
            raise HopelessError("the server died")
        return False

    with pytest.raises(HopelessError, match="the server died"):
        waiting.until(dies, "a server", seconds=30, every=0.001)
    assert len(asked) == 3


def test_a_poll_gives_the_last_answer_and_asks_even_when_time_is_up() -> None:
    answers = iter([0, 0.0, ""])
    assert waiting.poll(lambda: next(answers), seconds=-1) == 0
    assert waiting.poll(lambda: [], seconds=0.01, every=0.001) == []
    assert waiting.poll(lambda: 7, seconds=-1) == 7
