"""The standing proof of conservation: nothing lost, nothing repeated, nothing unexplained.

It needs no manifest. For every partition of every source it holds Kafka's own offsets against
`raw_events`, and those against `events` and `rejected_events`. An offset without a message (a
transaction's control record, an aborted or compacted message) is told from a lost one by reading
it from Kafka. What Kafka no longer has, an earlier topic of the same name included, is judged by
the claims: a micro-batch whose messages `raw_events` holds to the last had none at the offsets
between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from millrace import waiting
from millrace.lab.verify import ledger, models, rollups
from millrace.lab.verify.log import Extent, Log
from millrace.lab.verify.report import Check, Difference, Report
from millrace.lab.verify.warehouse import Misplaced, Span, Warehouse, fingerprint
from millrace.settings import Settings

POLL_SECONDS = 0.5
DAY_MS = 86_400_000

Progress = Callable[[int, int], None]


@dataclass
class Partition:
    """What is known of one partition: what Kafka holds and what the warehouse holds of it."""

    number: int
    incarnation: int
    held: Extent
    kafka: Extent | None = None
    absent: list[tuple[int, int]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """The offsets at which the warehouse must hold a message."""
        spans = []
        start = self.held.first_offset
        for first, after in sorted(self.absent):
            if first > start:
                spans.append((self.number, start, first))
            start = max(start, after)
        if start < self.held.next_offset:
            spans.append((self.number, start, self.held.next_offset))
        return spans


class Conservation:
    """One topic's proof."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings = settings
        self.topic = topic
        self.warehouse = Warehouse(settings, topic)
        self.log = Log(settings, topic)
        self.ends = self.log.extents()
        self.current = ledger.incarnation(settings, topic, self.log.topic_id())
        self.erased: dict[tuple[int, int], set[int]] = {}
        for incarnation, partition, offset in self.warehouse.rows("erased"):
            self.erased.setdefault((incarnation, partition), set()).add(offset)

    def _held(self) -> dict[tuple[int, int], Extent]:
        return {
            (incarnation, partition): Extent(first, after)
            for incarnation, partition, first, after in self.warehouse.rows("partitions")
        }

    def _missing_at_end(self) -> dict[int, list[int]]:
        """Return, by partition, the messages before the end (as of the start) not yet loaded."""
        held = self._held()
        missing = {}
        for partition, extent in self.ends.items():
            key = (self.current if self.current is not None else -1, partition)
            reached = held[key].next_offset if key in held else self._floor(partition)
            if reached < extent.next_offset:
                offsets = self.log.messages(partition, reached, extent.next_offset)
                offsets = self._not_erased(key, offsets)
                if offsets:
                    missing[partition] = offsets
        return missing

    def _not_erased(self, key: tuple[int, int], offsets: Iterable[int]) -> list[int]:
        """Return the offsets that no erasure took on purpose; ``key`` is (incarnation, partition).

        What an erasure took is no loss wherever it lies; whether it is really gone is a check.
        """
        erased = self.erased.get(key, set())
        return [offset for offset in offsets if offset not in erased]

    def _is_erased(self, key: tuple[int, int], first: int, after: int) -> bool:
        erased = self.erased.get(key, set())
        return all(offset in erased for offset in range(first, after))

    def _floor(self, partition: int) -> int:
        return self.ends[partition].first_offset

    def _outstanding(self) -> int:
        held = self._held()
        current = self.current if self.current is not None else -1
        total = 0
        for partition, extent in self.ends.items():
            at = held.get((current, partition))
            total += max(0, extent.next_offset - (at.next_offset if at else extent.first_offset))
        return total

    def wait(self, until: float, on_progress: Progress) -> None:
        """Wait until ingest has passed Kafka's end as of the start, or until ``until``.

        A partition whose end is only control records never gets there; it is looked at by reading.
        """
        total = self._outstanding()
        last, since = total, time.monotonic()

        def is_passed() -> bool:
            nonlocal last, since
            left = self._outstanding()
            on_progress(total - left, total)
            if left != last:
                last, since = left, time.monotonic()
            has_stalled = time.monotonic() - since > 2
            return left == 0 or (has_stalled and not self._missing_at_end())

        waiting.poll(is_passed, seconds=until - time.monotonic(), every=POLL_SECONDS)
        # What is in raw_events is in one of the others a moment later.
        waiting.poll(self._is_judged, seconds=until - time.monotonic(), every=POLL_SECONDS)

    def _is_judged(self) -> bool:
        """Whether what is in raw_events is in ``events`` or ``rejected_events`` too."""
        return not any(
            self._misplaced(spans, incarnation)
            for incarnation, spans in self._spans(self._partitions()).items()
        )

    def _partitions(self) -> list[Partition]:
        reported = [
            tuple(loss.values()) for loss in ledger.rows(self.settings, "losses", topic=self.topic)
        ]
        partitions = []
        for (incarnation, number), extent in self._held().items():
            kafka = self.ends.get(number) if incarnation == self.current else None
            held = extent
            if kafka is not None:  # what came after the start is not judged
                end = min(extent.next_offset, kafka.next_offset)
                held = Extent(extent.first_offset, max(extent.first_offset, end))
            one = Partition(number, incarnation, held, kafka)
            losses = [(a, b) for i, p, a, b in reported if (i, p) == (incarnation, number)]
            self._explain(one, losses)
            partitions.append(one)
        return partitions

    def _explain(self, one: Partition, losses: list[tuple[int, int]]) -> None:
        """Sort the offsets that the warehouse lacks into messageless ones and lost ones."""
        whole = (one.held.first_offset, one.held.next_offset)
        span = [(one.number, *whole)]
        raw = self.warehouse.fingerprints("raw_events", span, one.incarnation)
        if raw.get(one.number, (0, 0)) == fingerprint([whole]):
            return
        gaps = self.warehouse.rows(
            "gaps",
            incarnation=one.incarnation,
            partition=one.number,
            until=one.held.next_offset,
        )
        floor = one.held.next_offset if one.kafka is None else one.kafka.first_offset
        silent = self._silent(one, [gap for gap in gaps if gap[0] < floor])
        key = (one.incarnation, one.number)
        for first, after in gaps:
            one.absent.append((first, after))
            if self._is_erased(key, first, after):
                continue
            # What ingest reported as lost, with these offsets, is no news.
            for start, end in without((max(first, floor), after), losses):
                there = self.log.messages(one.number, start, end)
                one.lost.extend(self._not_erased(key, there))
            for start, end in without((first, min(after, floor)), [*losses, *silent]):
                one.lost.extend(self._not_erased(key, range(start, end)))

    def _silent(self, one: Partition, gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the claimed ranges around ``gaps`` whose micro-batches lack no message."""
        if not gaps:
            return []
        claims = ledger.rows(
            self.settings,
            "claims",
            topic=self.topic,
            incarnation=one.incarnation,
            partition=one.number,
            first=gaps[0][0],
            after=gaps[-1][1],
        )
        if not claims:
            return []
        numbers = [claim["batch_id"] for claim in claims]
        held = dict(
            self.warehouse.rows(
                "batch_messages", incarnation=one.incarnation, first=min(numbers), last=max(numbers)
            )
        )
        return [
            (claim["first_offset"], claim["next_offset"])
            for claim in claims
            if held.get(claim["batch_id"], 0) == claim["message_count"]
        ]

    @staticmethod
    def _spans(partitions: list[Partition]) -> dict[int, list[Span]]:
        spans: dict[int, list[Span]] = {}
        for one in partitions:
            if one.spans:
                spans.setdefault(one.incarnation, []).extend(one.spans)
        return spans

    def checks(self) -> list[Check]:
        """Return the checks of this topic."""
        partitions = self._partitions()
        late = self._missing_at_end()
        behind = Check(
            f"{self.topic}: every message in Kafka is loaded",
            f"{len(self.ends)} partitions up to their ends",
            [
                Difference(f"{self.topic}/{p}@{offset}", "in raw_events", "nowhere")
                for p, offsets in sorted(late.items())
                for offset in offsets
            ],
        )
        gaps = Check(
            f"{self.topic}: raw_events has no gap",
            f"{len(partitions)} partitions, "
            f"{sum(len(one.absent) for one in partitions)} gaps looked into",
            [
                Difference(f"{self.topic}/{one.number}@{offset}", "in raw_events", "nowhere")
                for one in partitions
                for offset in [*self._before(one), *one.lost]
            ],
        )
        placed = Check(f"{self.topic}: each message once in events or rejected_events")
        count = 0
        for incarnation, spans in self._spans(partitions).items():
            count += sum(after - first for _, first, after in spans)
            placed.differences += [
                wrong.as_difference(self.topic) for wrong in self._misplaced(spans, incarnation)
            ]
        placed.compared = f"{count:,} positions"
        return [behind, gaps, placed, self._gone()]

    def _gone(self) -> Check:
        """Check that no table holds what an erasure took."""
        check = Check(
            f"{self.topic}: what was erased is gone",
            f"{sum(map(len, self.erased.values())):,} positions",
        )
        for (incarnation, partition), offsets in sorted(self.erased.items()):
            spans = [(partition, offset, offset + 1) for offset in sorted(offsets)]
            for table in ("raw_events", self.warehouse.target, "rejected_events"):
                held, _ = self.warehouse.fingerprints(table, spans, incarnation).get(
                    partition, (0, 0)
                )
                if held:
                    place = f"{self.topic}/{partition} in {table}"
                    check.differences.append(Difference(place, "0 erased messages", held))
        return check

    def _before(self, one: Partition) -> list[int]:
        """Return messages that Kafka holds before the first loaded one and that are too young to
        have expired from raw_events.
        """  # noqa: D205
        if one.kafka is None or one.kafka.first_offset >= one.held.first_offset:
            return []
        days = self.settings.raw_retention_days - 1
        young = int(time.time() * 1000) - days * DAY_MS
        there = self.log.messages(
            one.number, one.kafka.first_offset, one.held.first_offset, younger_than_ms=young
        )
        return self._not_erased((one.incarnation, one.number), there)

    def _misplaced(self, spans: list[Span], incarnation: int) -> list[Misplaced]:
        """Return the positions that are not where they must be.

        Left out are those in neither table only because their time came to leave ``events``.
        """
        wrong = self.warehouse.misplaced(spans, incarnation)
        gone = [
            (one.partition, one.offset, one.offset + 1)
            for one in wrong
            if one.must == one.raw == 1 and one.events + one.rejected == 0
        ]
        if not gone:
            return wrong
        expired = set(
            self.warehouse.rows(
                "expired_positions",
                gone,
                incarnation=incarnation,
                days=self.settings.events_retention_days,
                timestamp_field=self.warehouse.timestamp_field,
            )
        )
        return [one for one in wrong if (one.partition, one.offset) not in expired]


def without(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of a half-open range when other ranges are taken out of it."""
    start, end = span
    left = []
    for first, after in sorted(others):
        if first > start:
            left.append((start, min(first, end)))
        start = max(start, after)
        if start >= end:
            break
    left.append((start, end))
    return [(first, after) for first, after in left if first < after]


def verify(
    settings: Settings,
    *,
    topics: Collection[str] = (),
    wait_seconds: float = 120,
    on_progress: Progress = lambda _done, _total: None,
) -> Report:
    """Prove conservation for every source's topic, or for some ``topics`` only.

    ``wait_seconds`` is how long ingest may take to reach Kafka's end as of now. Raises
    ``confluent_kafka.KafkaException`` when the broker or a topic is not there.
    """
    report = Report("Conservation: Kafka, raw_events, events, rejected_events")
    until = time.monotonic() + wait_seconds
    seen: set[str] = set()
    for topic in topics or [row["topic"] for row in ledger.rows(settings, "topics")]:
        proof = Conservation(settings, topic)
        proof.wait(until, on_progress)
        report.checks.extend(proof.checks())
        if proof.warehouse.target not in seen:
            seen.add(proof.warehouse.target)
            hours = settings.duplicate_window_hours
            total, repeated = proof.warehouse.repeated_event_ids(hours)
            name = f"{proof.warehouse.target}: no event_id twice"
            report.checks.append(Check(name, f"{total:,} events", repeated))
            if proof.warehouse.target == "events":
                soon = min(until, time.monotonic() + 15)
                report.checks.append(rollups.check_all(proof.warehouse, settings, soon))
                soon = max(soon, time.monotonic() + 5)
                report.checks += models.check(proof.warehouse, settings, soon)
    return report
