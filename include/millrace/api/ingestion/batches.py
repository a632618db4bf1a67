"""What a request brings and what becomes of it, in words that every way in shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millrace.api.http import ProblemError
from millrace.api.ingestion.columns import FEW

MOST_EVENTS = 2_000
MOST_BYTES = 20 << 20
"""Of a request: of its body as it comes, and unpacked."""


def check_count(count: int) -> None:
    """Refuse a request of too many events. Raises ``ProblemError`` (413)."""
    if count > MOST_EVENTS:
        raise ProblemError(
            413,
            "too_many_events",
            f"More than {MOST_EVENTS} events in a request: send them in several.",
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that the gate will reject, or that can't be sent at all, and why.

    ``index`` is its place in the request, from 0; ``reason`` is from docs/rejection-reasons.md.
    """

    index: int
    event_id: str
    reason: str
    field: str = ""
    detail: str = ""
    rule: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as answers have it."""
        return {
            "index": self.index,
            "event_id": self.event_id,
            "reason": self.reason,
            "field": self.field,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Batch:
    """The events of a request, each as the JSON of the contract's object, in their order.

    An event is bytes (passed on as they came) or an object. What is no object at all is passed on
    as bytes too: the gate rejects it, where it can be seen and replayed.

    Args:
        events: One entry an event.
        names_are_foreign: The events' names come from an SDK of others; one that nobody has seen
            is treated as the source's setting says (taken, held, refused).
    """

    events: Sequence[bytes | Mapping[str, Any]]
    names_are_foreign: bool = False

    @classmethod
    def translated(
        cls,
        sent: Sequence[Any],
        translate: Callable[[Any], bytes | Mapping[str, Any]],
        together: Callable[[Sequence[Any]], Sequence[Mapping[str, Any]] | None] | None = None,
    ) -> Batch:
        """Translate what an SDK sent, unless it is too much. Raises ``ProblemError`` (413).

        Args:
            sent: The events as they came.
            translate: Translates one.
            together: Does the same with many, and faster, where none of them is unusual.
        """
        check_count(len(sent))
        events = together(sent) if together is not None and len(sent) > FEW else None
        if events is None:
            return cls([translate(one) for one in sent], names_are_foreign=True)
        return cls(events, names_are_foreign=True)


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: every event is durable, and these are as good as rejected."""

    count: int
    rejections: Sequence[Rejection] = field(default_factory=tuple)

    @property
    def accepted(self) -> int:
        """The number of events that nothing speaks against."""
        return self.count - len(self.rejections)


def renamed(
    events: Sequence[bytes | Mapping[str, Any]], names: Mapping[str, str]
) -> Sequence[bytes | Mapping[str, Any]]:
    """Return events with their fields as their source names them, where it names any otherwise.

    What is bytes came from a sender who knows the source. A member that is called as the source
    calls a field is kept as ``property_…``: it must not change whose the event is, or when it was.
    """
    if not names:
        return events
    keys = frozenset(names.values())

    def name(key: str) -> str:
        if key in names:
            return names[key]
        return f"property_{key}" if key in keys else key

    return [
        one if isinstance(one, bytes) else {name(key): one[key] for key in one} for one in events
    ]
