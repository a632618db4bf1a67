"""Who asks what is being answered for another waits for that answer, and pays nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.query.test_questions import ANYONE

from millrace.api.query.answer import Answer, Cost
from millrace.api.query.asked import Asked, Inquiry, Manner
from millrace.api.query.questions import Question

START = datetime(2026, 3, 1, tzinfo=UTC)
QUESTION = Question(("events",), START, START + timedelta(days=1), "1h", "UTC")


@dataclass
class Numbers:
    """Stands in for what computes answers: counts them, and waits until it is let go."""

    computed: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, question: Question, _whose: Any, **_manner: Any) -> Answer:
        """Compute an answer."""
        self.computed += 1
        await self.let_go.wait()
        return Answer(question, None, [], [], Cost(), START, f"state {self.computed}")


async def crowd() -> None:
    numbers = Numbers()
    asked = Asked(numbers)  # type: ignore[arg-type]

    def ask(question: Question, manner: Manner, state: str) -> asyncio.Task[Any]:
        return asyncio.create_task(asked.body(Inquiry(question, manner), state, ANYONE))

    assert await asked.coming(Inquiry(QUESTION, Manner()), "now", ANYONE) is None
    same = [ask(QUESTION, Manner(), "now") for _ in range(100)]
    later = ask(QUESTION, Manner(), "changed since")
    other = ask(replace(QUESTION, interval="1d"), Manner(), "now")
    as_csv = ask(QUESTION, Manner(output="csv"), "now")
    afresh = [ask(QUESTION, Manner(is_fresh=True), "now") for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # each has begun
    waits = asyncio.create_task(asked.coming(Inquiry(QUESTION, Manner()), "now", ANYONE))
    assert await asked.coming(Inquiry(QUESTION, Manner(is_fresh=True)), "now", ANYONE) is None
    numbers.let_go.set()
    bodies = {id(body) for body in await asyncio.gather(*same)}
    assert bodies == {id(await waits)}
    assert len({id(body) for body in await asyncio.gather(later, other, as_csv, *afresh)}) == 5
    assert numbers.computed == 6
    assert await asked.coming(Inquiry(QUESTION, Manner()), "now", ANYONE) is None


async def roles() -> None:
    numbers = Numbers()
    asked = Asked(numbers)  # type: ignore[arg-type]
    admin = replace(ANYONE, name="root", role="admin")
    mine = asyncio.create_task(asked.body(Inquiry(QUESTION, Manner()), "now", ANYONE))
    theirs = asyncio.create_task(asked.body(Inquiry(QUESTION, Manner()), "now", admin))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # each has begun
    numbers.let_go.set()
    await asyncio.gather(mine, theirs)
    assert numbers.computed == 2


def test_nobody_is_bound_by_the_limits_of_another_role() -> None:
    asyncio.run(roles())


def test_a_crowd_that_asks_the_same_is_answered_once() -> None:
    asyncio.run(crowd())
