"""Waiting for another process to get somewhere: ask until it has, or until the time is up.

``until`` raises when the time is up, ``poll`` returns the last answer. Both are a thin layer on
tenacity, which Airflow brings along: it keeps the time and the pauses, and lets whatever the
condition raises pass at once, which is how a wait that has become hopeless (the server died) ends
early. Added here is what every wait of Millrace owes: the value that was waited for, and a time-out
that says what was waited for, how long, and what to do next.

To repeat a call that fails, use ``tenacity.Retrying`` itself. A loop that has no end of its own (a
supervisor, a schedule, a pace to keep) is no wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_not_result,
    stop_after_delay,
    wait_exponential,
)

T = TypeVar("T")

GROWTH = 1.5
"""How much longer a pause is than the one before, where pauses grow."""


def poll(
    condition: Callable[[], T], *, seconds: float, every: float = 0.1, up_to: float | None = None
) -> T:
    """Ask until ``condition`` holds, for at most ``seconds``; return its last answer, as it was.

    It is asked at least once. For ``every`` and ``up_to`` see ``until``.
    """

    def last_answer(state: RetryCallState) -> T:
        assert state.outcome is not None  # noqa: S101  it was asked at least once
        return state.outcome.result()  # type: ignore[no-any-return]

    ask = Retrying(
        retry=retry_if_not_result(bool),
        stop=stop_after_delay(seconds),
        wait=wait_exponential(multiplier=every, exp_base=GROWTH, max=up_to or every),
        retry_error_callback=last_answer,
    )
    return ask(condition)


def until(
    condition: Callable[[], T | None],
    what: str,
    *,
    seconds: float,
    every: float = 0.1,
    up_to: float | None = None,
    hint: str | Callable[[], str] = "",
    error: Callable[[str], Exception] = TimeoutError,
) -> T:
    """Ask until ``condition`` holds, and return its answer.

    Args:
        condition: Returns something true once it holds. What it raises ends the wait.
        what: What is waited for, in the words that follow "waited 30 s for".
        seconds: For how long. A last question is asked after the pause in which they pass.
        every: The pause between two questions, in seconds.
        up_to: Where given, pauses grow from ``every`` up to this.
        hint: How things stand and what to do next; a function is called once the time is up.
        error: The exception that is raised then; made from "waited 30 s for ``what``: ``hint``".
    """
    answer = poll(condition, seconds=seconds, every=every, up_to=up_to)
    if answer:
        return answer
    said = hint if isinstance(hint, str) else hint()
    raise error(f"waited {seconds:g} s for {what}" + (f": {said}" if said else ""))
