"""Numbers as they change: what many watch is asked once, and told to all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.asked import Asked, Inquiry, Manner, read_manner
from millrace.api.query.instruments import WATCHERS
from millrace.api.query.questions import Question, read_query
from millrace.api.query.registry import Registry

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often it is looked, in memory, whether numbers have changed."""
SILENT_SECONDS = 15.0
"""After how long a watcher is told that the connection lives."""
MOST_BUCKETS = 500
MOST_TOPICS = 500
MOST_OWN_TOPICS = 50
"""Of one person, or token: several dashboards."""
"""Different questions that are watched at once in a process."""

Parameters = Mapping[str, str]


@dataclass
class _Topic:
    """What some watch: the newest message, and who waits for the next."""

    parameters: Parameters
    whose: Principal
    message: str = ""
    number: int = 0
    watchers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self, message: str) -> None:
        """Have everybody who waits send a message."""
        self.message = message
        self.number += 1
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """What is watched in a process. Each topic lives as long as somebody watches it."""

    def __init__(self, asked: Asked, registry_of: Callable[[Principal], Registry]) -> None:
        self._asked = asked
        self._registry_of = registry_of
        self._topics: dict[tuple[object, ...], _Topic] = {}

    def check(self, parameters: Parameters, whose: Principal) -> None:
        """Raise ``ProblemError`` for what can't be watched, and where too much is already."""
        question = self._question(parameters, whose)
        _manner(parameters)
        if len(question.buckets) > MOST_BUCKETS:
            raise ProblemError(
                422, "too_large",
                f"{len(question.buckets)} buckets; {MOST_BUCKETS} can be watched. Ask for a "
                "shorter range.",
            )  # fmt: skip
        if len(self._topics) >= MOST_TOPICS and _key(parameters, whose) not in self._topics:
            raise ProblemError(503, "busy", "Too much is watched already.", retry_after=5)
        own = [topic.whose.name for topic in self._topics.values()].count(whose.name)
        if own >= MOST_OWN_TOPICS and _key(parameters, whose) not in self._topics:
            raise ProblemError(503, "busy", "You watch too much already.", retry_after=5)

    async def watch(self, parameters: Parameters, whose: Principal) -> AsyncGenerator[str]:
        """Yield the numbers now, and again whenever they have changed, as server-sent events.

        A watcher who reads slowly misses what was overtaken, never the newest.
        """
        key = _key(parameters, whose)
        topic = self._topics.setdefault(key, _Topic(parameters, whose))
        topic.watchers += 1
        WATCHERS.inc()
        if topic.task is None:
            topic.task = asyncio.create_task(self._follow(topic), name="live numbers")
        seen = 0
        try:
            while True:
                changed = topic.changed
                if topic.number == seen:
                    try:
                        async with asyncio.timeout(SILENT_SECONDS):
                            await changed.wait()
                    except TimeoutError:
                        yield ": still the same\n\n"
                        continue
                seen = topic.number
                yield topic.message
        finally:
            topic.watchers -= 1
            WATCHERS.dec()
            if not topic.watchers:
                topic.task.cancel()
                del self._topics[key]

    def _question(self, parameters: Parameters, whose: Principal) -> Question:
        return read_query(parameters, self._registry_of(whose), datetime.now(UTC), whose)

    async def _follow(self, topic: _Topic) -> None:
        """Tell a topic's watchers of every change, also of that time passes into a new bucket."""
        told: tuple[tuple[str, ...], str] | None = None
        refused = ""
        while True:
            try:
                question = self._question(topic.parameters, topic.whose)
                inquiry = Inquiry(question, _manner(topic.parameters))
                state = self._asked.state(inquiry)
                if (inquiry.key, state) != told:
                    body = await self._asked.body(inquiry, state, topic.whose)
                    content = body.content.decode()
                    topic.tell(f"event: numbers\nid: {body.state}\ndata: {content}\n\n")
                    told, refused = (inquiry.key, state), ""
            except ProblemError as problem:
                if problem.detail != refused:
                    refused = problem.detail
                    document = problem.document("")
                    topic.tell(f"event: problem\ndata: {orjson.dumps(document).decode()}\n\n")
            except Exception:
                log.exception("live numbers can't be told")
            await asyncio.sleep(LOOK_SECONDS)


def _manner(parameters: Parameters) -> Manner:
    return read_manner(parameters, {})


def _key(parameters: Parameters, whose: Principal) -> tuple[object, ...]:
    """Return what is the same for all whose answers are the same."""
    return (whose.role, whose.row_policy, *sorted(parameters.items()))
