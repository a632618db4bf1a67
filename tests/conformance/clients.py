"""Which clients are tried, and what each is known to do: the table of docs/ingestion-api.md.

A case is a request of three events, of which the second is bad in ``BAD_EVENT``. What a client does
with a fault: it sends all ``again``, or gives up what it sent (``drop``), or sends in ``pieces``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.conformance.front import CUT

from millrace.api.http import ProblemError

ACCEPTED, BAD_EVENT, WRONG_KEY = "accepted", "bad event", "wrong key"
THROTTLED, UNAVAILABLE, TOO_LARGE = "throttled", "unavailable", "too large"
ANSWER_LOST = "answer lost"

AGAIN, DROP, PIECES = "again", "drop", "pieces"

PROBLEMS: Mapping[str, list[ProblemError | str]] = {
    ACCEPTED: [],
    BAD_EVENT: [],
    WRONG_KEY: [],
    THROTTLED: [ProblemError(429, "rate_limited", "Too many for now", retry_after=1)],
    UNAVAILABLE: [ProblemError(503, "unavailable", "Not now", retry_after=1)],
    TOO_LARGE: [ProblemError(413, "too_large", "Too large")],
    ANSWER_LOST: [CUT],
}

EVENTS = 3


@dataclass(frozen=True, eq=False)
class Client:
    """A client, and what it does in each case.

    Args:
        where: ``python``, ``node`` or ``browser``.
        name: What its driver calls it.
        requests: How many it makes of three events if all is well.
        does: By fault.
        is_ordered: Its requests go one after another, so that the first has the first event.
        has_ids: Its events have ids of their own, so that one that is sent twice is known.
        is_timed: It sends each event again at a time of its own, so in one request or in several.
    """

    where: str
    name: str
    requests: int = 1
    does: Mapping[str, str] = field(default_factory=dict)
    is_ordered: bool = True
    has_ids: bool = True
    is_timed: bool = False

    def __str__(self) -> str:
        return f"{self.where} {self.name}"

    @property
    def cases(self) -> list[str]:
        """The cases in which it is tried."""
        return [ACCEPTED, BAD_EVENT, WRONG_KEY, *self.does]

    @property
    def first(self) -> int:
        """How many events its first request has."""
        return EVENTS if self.requests == 1 else 1

    def requests_in(self, case: str) -> range:
        """Return how many requests it may make in a case."""
        does = self.does.get(case)
        least = self.requests + {AGAIN: 1, PIECES: EVENTS}.get(does or "", 0)
        most = self.requests + EVENTS if self.is_timed and does == AGAIN else least
        return range(least, most + 1)

    def arrive(self, case: str) -> list[int]:
        """Return which events arrive in a case, and aren't rejected."""
        if case == WRONG_KEY:
            return []
        if case == BAD_EVENT:
            return [0, 2]
        if self.does.get(case) == DROP and case != ANSWER_LOST:
            return list(range(self.first, EVENTS))
        return list(range(EVENTS))


def _does(throttled: str, unavailable: str, too_large: str, lost: str) -> dict[str, str]:
    return {
        THROTTLED: throttled, UNAVAILABLE: unavailable, TOO_LARGE: too_large, ANSWER_LOST: lost,
    }  # fmt: skip


REPEATS = _does(AGAIN, AGAIN, DROP, AGAIN)
"""Most: again after what passes, never after what doesn't."""

NEVER = _does(DROP, DROP, DROP, DROP)
AMPLITUDE = {THROTTLED: AGAIN, UNAVAILABLE: AGAIN, TOO_LARGE: AGAIN}
"""Without an answer its promise is never kept, nor the events sent again."""

CLIENTS = (
    Client("python", "segment", 1, REPEATS),
    Client("python", "rudder", 1, REPEATS),
    Client("python", "posthog_v0", 1, REPEATS),
    Client("python", "posthog_v1", 1, REPEATS),
    Client("python", "amplitude", 1, AMPLITUDE, is_timed=True),
    Client("python", "mixpanel", 1, NEVER),  # again over https alone
    Client("python", "snowplow", 1, REPEATS),
    Client("python", "cloudevents", 3),  # makes messages; sending them is the application's
    Client("node", "segment", 1, REPEATS),
    Client("node", "rudder", 2, REPEATS),
    Client("node", "posthog", 1, _does(AGAIN, AGAIN, PIECES, AGAIN)),
    Client("node", "amplitude", 1, AMPLITUDE),
    Client("node", "mixpanel", 2, NEVER),
    Client("node", "snowplow", 1, REPEATS),
    Client("node", "jitsu", 3, NEVER),
    Client("node", "openpanel", 3, _does(AGAIN, AGAIN, AGAIN, AGAIN), has_ids=False),
    Client("node", "umami", 3, NEVER),
    Client("browser", "segment", 3, REPEATS, is_ordered=False),
    Client("browser", "posthog", 1, REPEATS),
    Client("browser", "plausible", 3, NEVER, is_ordered=False),
)
