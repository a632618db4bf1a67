"""Record batches that can't be decoded: damaged on a broker's disk, or of a codec nobody knows.

Kafka hands such a batch out again and again, so a partition would stand before it for ever. Once it
is proved that it can't be read, and where it ends, its offsets become an incident and the partition
goes on behind it. Its bytes stay in Kafka for as long as the topic keeps them.
"""

from __future__ import annotations

from collections.abc import Callable

from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.reader import Reader, UnreadableError

PROOFS = 3
"""So often a batch is asked for before it is given up: what a network spoiled comes right again."""

PROBE_SECONDS = 30.0


def skip(ledger: Ledger, reader: Reader, position: Position, found: UnreadableError) -> None:
    """Go on behind a batch that can't be decoded, and record exactly which offsets were lost.

    Does nothing if it can be read after all. Raises ``TimeoutError`` when Kafka does not answer,
    ``LeaseLostError`` when the partition belongs to another worker.
    """
    end = end_of(found, reader, position.next_offset)
    if end is not None:
        ledger.lose(position, end, describe(found))


def end_of(found: UnreadableError, reader: Reader, first: int) -> int | None:
    """Return where a batch ends that can't be decoded, nothing if it can be read after all.

    ``first`` is an offset within it. Raises ``TimeoutError`` when Kafka does not answer.
    """
    partition = found.partition
    for _ in range(PROOFS - 1):
        if reader.probe(partition, first, PROBE_SECONDS) is None:
            return None

    def is_inside(offset: int) -> bool:
        again = reader.probe(partition, offset, PROBE_SECONDS)
        return again is not None and again.offset == found.offset

    _, end = reader.watermarks(partition)
    return first_outside(first, end, is_inside)


def describe(found: UnreadableError) -> str:
    """Say of a batch what an incident tells."""
    return (
        f"the record batch at offset {found.offset} can't be decoded ({found.reason}); Kafka keeps "
        "its bytes for as long as the topic's retention"
    )


def first_outside(inside: int, end: int, is_inside: Callable[[int], bool]) -> int:
    """Return the first offset up to ``end`` that is not inside, asking as seldom as possible."""
    step = 1
    while (outside := min(inside + step, end)) < end and is_inside(outside):
        inside, step = outside, 2 * step
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside
