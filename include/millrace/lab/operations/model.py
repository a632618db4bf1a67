"""What must be there after a sequence of operations; shares no code with what brings it about."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from uuid import UUID

FIRST_USER = 910_000_001
"""Numbers of users that are found as text in any message, file or table."""
PRECISION = timedelta(milliseconds=1)
"""Of times in the stores."""
OPEN, BLOCKED = "/open", "/blocked"
"""Pages: every event of the second breaks the campaign's rule while that is enforced."""


class Verdict(Enum):
    """What became of a message."""

    QUEUED = "queued"
    """In Kafka, and not loaded yet."""
    EVENT = "event"
    REJECTED = "rejected"
    EITHER = "either"
    """Judged by the rule as it was at a moment that a restore chose."""


@dataclass
class Message:
    """An event that was sent once."""

    event_id: UUID
    user_id: int
    page: str
    time: datetime
    incarnation: int
    verdict: Verdict = Verdict.QUEUED
    is_lost: bool = False
    """Whether Kafka lost it where no backup had it, or it is of the moment in which its user's
    erasure was ordered: it may be gone, but never twice there."""


@dataclass
class Erasure:
    """A user's erasure, which was ordered between two moments, and the events that it reaches."""

    began: datetime
    ended: datetime
    event_ids: set[UUID]


@dataclass
class Model:
    """Everything that was sent, and what was done to it."""

    messages: list[Message] = field(default_factory=list)
    erasures: dict[int, Erasure] = field(default_factory=dict)
    is_enforced: bool = False
    incarnation: int = 0
    backups: list[datetime] = field(default_factory=list)
    moments: list[tuple[datetime, bool]] = field(default_factory=list)
    """Ends of operations, to which the stack can be restored, and whether the rule was enforced."""
    in_backup: dict[UUID, datetime] = field(default_factory=dict)
    """The first backup that has a message."""

    @property
    def users(self) -> list[int]:
        """Users of whom there is something."""
        return sorted({m.user_id for m in self.messages})

    def send(self, message: Message) -> None:
        """A message is in Kafka; what tells of a moment before its user's erasure is never kept."""
        erasure = self.erasures.get(message.user_id)
        if erasure and message.time < erasure.began:
            erasure.event_ids.add(message.event_id)
        else:
            message.is_lost = erasure is not None and message.time < erasure.ended
            self.messages.append(message)

    def judge(self, message: Message) -> Verdict:
        """Return what the gate says of a message now."""
        is_refused = self.is_enforced and message.page == BLOCKED
        return Verdict.REJECTED if is_refused else Verdict.EVENT

    def load(self) -> None:
        """Everything that is in Kafka and not lost is judged."""
        for message in self.messages:
            if message.verdict is Verdict.QUEUED and not message.is_lost:
                message.verdict = self.judge(message)

    def rebuild(self, day: date) -> None:
        """Every message of a day that was loaded is judged again."""
        for message in self.messages:
            if message.time.astimezone(UTC).date() == day and message.verdict is not Verdict.QUEUED:
                message.verdict = self.judge(message)

    def replay(self) -> None:
        """Every message that was rejected is sent, and judged, again."""
        for message in self.messages:
            is_event = self.judge(message) is Verdict.EVENT
            if is_event and message.verdict in (Verdict.REJECTED, Verdict.EITHER):
                message.verdict = Verdict.EVENT

    def erase(self, user_id: int, began: datetime, ended: datetime) -> None:
        """Nothing of a user is left, and what comes of the time before the order is left out."""
        known = self.erasures.get(user_id)
        ids = known.event_ids if known else set()
        ids |= {m.event_id for m in self.messages if m.user_id == user_id}
        self.erasures[user_id] = Erasure(began - PRECISION, ended + PRECISION, ids)
        self.messages = [m for m in self.messages if m.user_id != user_id]

    def back_up(self, moment: datetime) -> None:
        """What was loaded is safe from now on."""
        self.backups.append(moment)
        for message in self.messages:
            if message.verdict is not Verdict.QUEUED:
                self.in_backup.setdefault(message.event_id, moment)

    def remake_topic(self) -> None:
        """What was not loaded is lost, and what is in no backup can't be read again."""
        self.incarnation += 1
        for message in self.messages:
            message.is_lost |= message.verdict is Verdict.QUEUED

    def restore(self, moment: datetime, *, is_enforced: bool) -> None:
        """Go back to a moment, and load again what came since from Kafka."""
        self.is_enforced = is_enforced
        backup = max(b for b in self.backups if b <= moment)
        self.backups = [b for b in self.backups if b <= moment]
        for message in self.messages:
            kept = self.in_backup.get(message.event_id)
            is_kept = kept is not None and kept <= backup
            if not is_kept:
                self.in_backup.pop(message.event_id, None)
                message.is_lost |= message.incarnation < self.incarnation
            if message.page == BLOCKED and message.verdict is not Verdict.QUEUED:
                message.verdict = Verdict.EITHER

    def certain(self, verdict: Verdict) -> set[UUID]:
        """Return the ids that must have a verdict."""
        return {m.event_id for m in self.messages if m.verdict is verdict and not m.is_lost}

    def possible(self) -> set[UUID]:
        """Return the ids that may be events."""
        either = (Verdict.EVENT, Verdict.EITHER)
        return {m.event_id for m in self.messages if m.verdict in either or m.is_lost}
