"""The decisions of planning and reconciliation, as functions of what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.ingest.model import StoredRange


def share_out(
    partitions: Iterable[int], tasks: int, together: Iterable[Iterable[int]]
) -> list[tuple[int, ...]]:
    """Split partitions among at most ``tasks`` shares of about the same size.

    Partitions of one set in ``together`` (an open micro-batch's) stay in one share, so that one
    worker can replay the batch. The same input gives the same shares.
    """
    leader = {partition: partition for partition in partitions}

    def find(partition: int) -> int:
        while leader[partition] != partition:
            partition = leader[partition]
        return partition

    for group in together:
        members = [find(partition) for partition in group if partition in leader]
        for member in members:
            leader[find(member)] = min(find(member), find(members[0]))
            leader[find(members[0])] = find(member)
    groups: dict[int, list[int]] = {}
    for partition in sorted(leader):
        groups.setdefault(find(partition), []).append(partition)
    shares: list[list[int]] = [[] for _ in range(tasks)]
    for group in sorted(groups.values(), key=lambda members: (-len(members), members)):
        min(shares, key=len).extend(group)
    return [tuple(sorted(share)) for share in shares if share]


@dataclass(frozen=True)
class Adoption:
    """A range of a micro-batch that only the warehouse knows, to be entered into the ledger."""

    batch_id: int
    partition: int
    first_offset: int
    next_offset: int
    claimed_at: datetime


def adopt(found: Iterable[StoredRange], positions: Mapping[int, int]) -> list[Adoption]:
    """Lay the batches that the warehouse holds beyond the ledger end to end.

    Ranges of a partition follow one another without gap or overlap from the ledger's position on;
    offsets without a message (control records, compacted ones) go to the batch behind them.
    """
    cursor = dict(positions)
    adopted = []
    for piece in sorted(found, key=lambda f: (f.partition, f.next_offset, f.batch_id)):
        start = cursor.get(piece.partition)
        if start is None or piece.next_offset <= start:
            continue
        adopted.append(
            Adoption(piece.batch_id, piece.partition, start, piece.next_offset, piece.claimed_at)
        )
        cursor[piece.partition] = piece.next_offset
    return adopted


@dataclass(frozen=True)
class RowCounts:
    """How many rows of a micro-batch the warehouse, or the ledger, counts."""

    raw: int
    events: int
    rejected: int


def incomplete(expected: Mapping[int, RowCounts], found: Mapping[int, RowCounts]) -> list[int]:
    """Return the loaded micro-batches of which the warehouse lacks rows.

    Kept messages are compared by themselves, verdicts by their sum: a rebuild under newer rules
    may move rows between ``events`` and ``rejected_events``.
    """
    nothing = RowCounts(0, 0, 0)
    lacking = []
    for batch_id, wanted in expected.items():
        has = found.get(batch_id, nothing)
        if has.raw < wanted.raw or has.events + has.rejected < wanted.events + wanted.rejected:
            lacking.append(batch_id)
    return sorted(lacking)


def is_complete(has: RowCounts) -> bool:
    """Tell whether every kept message of a micro-batch has its verdict."""
    return has.raw > 0 and has.events + has.rejected == has.raw


def start_offsets(
    known: Sequence[int], watermarks: Mapping[int, tuple[int, int]]
) -> dict[int, int]:
    """Return where partitions that the ledger does not know begin: at the first offset there is."""
    return {p: low for p, (low, _) in sorted(watermarks.items()) if p not in set(known)}


def ended_as_planned(
    shares: Sequence[object] | None, done: Iterable[Mapping[str, Any] | None]
) -> bool:
    """Tell whether every share of a run was loaded until its time was up.

    ``shares`` is what ``plan`` returned, None where it failed; ``done`` the totals of the workers,
    None of those that did not end well.
    """
    if not shares:
        return False
    ended = [total["is_outdated"] for total in done if total]
    return len(ended) == len(shares) and not any(ended)
