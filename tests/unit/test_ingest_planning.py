"""Planning and reconciliation decide right after whatever happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from millrace.ingest import planning
from millrace.ingest.model import Batch, Range, StoredRange, ranges_condition
from millrace.ingest.planning import RowCounts
from millrace.ingest.progress import compact

START = datetime(2026, 1, 1, tzinfo=UTC)

partitions = st.sets(st.integers(0, 200), max_size=40)


@given(
    partitions,
    st.integers(1, 12),
    st.lists(st.sets(st.integers(0, 200), min_size=1, max_size=6), max_size=8),
)
def test_every_partition_is_in_one_share_and_no_open_batch_is_split(
    all_partitions: set[int], tasks: int, together: list[set[int]]
) -> None:
    shares = planning.share_out(all_partitions, tasks, together)

    assert sorted(p for share in shares for p in share) == sorted(all_partitions)
    assert len(shares) <= tasks
    assert all(shares)
    for group in together:
        holders = {i for i, share in enumerate(shares) for p in group if p in share}
        assert len(holders) <= 1
    assert shares == planning.share_out(all_partitions, tasks, together)


@given(st.integers(1, 60), st.integers(1, 8))
def test_shares_differ_by_one_partition_at_most(count: int, tasks: int) -> None:
    sizes = [len(share) for share in planning.share_out(range(count), tasks, [])]
    assert len(sizes) == min(count, tasks)
    assert max(sizes) - min(sizes) <= 1


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Range]], list[int]]:
    """Micro-batches as they were claimed, with gaps where offsets hold no message.

    The second value is, per batch, how many of its last offsets have no message.
    """
    position = dict.fromkeys(range(3), 0)
    batches, bare_ends = [], []
    for _ in range(draw(st.integers(0, 12))):
        members = draw(st.sets(st.integers(0, 2), min_size=1))
        ranges = []
        for partition in sorted(members):
            size = draw(st.integers(1, 50))
            first = position[partition]
            position[partition] = first + size
            ranges.append(Range(partition, first, first + size))
        batches.append(ranges)
        bare_ends.append(draw(st.integers(0, 3)))
    return batches, bare_ends


@given(histories(), st.integers(0, 12), st.integers(0, 12))
def test_a_ledger_restored_to_any_moment_is_moved_over_all_that_was_kept(
    history: tuple[list[list[Range]], list[int]], restored_to: int, died_at: int
) -> None:
    batches, bare_ends = history
    restored_to = min(restored_to, len(batches))
    kept = range(restored_to, min(max(died_at, restored_to), len(batches)))
    ledger = dict.fromkeys(range(3), 0)
    for ranges in batches[:restored_to]:
        ledger |= {r.partition: r.next_offset for r in ranges}
    found = [
        StoredRange(
            batch_id=i,
            partition=r.partition,
            first_offset=r.first_offset,
            next_offset=r.next_offset - min(bare_ends[i], len(r) - 1),
            messages=1,
            claimed_at=START + timedelta(seconds=i),
        )
        for i in kept
        for r in batches[i]
    ]

    adopted = planning.adopt(found, ledger)

    for partition in range(3):
        mine = [a for a in adopted if a.partition == partition]
        cursor = ledger[partition]
        for piece in mine:  # end to end: no gap, no overlap
            assert piece.first_offset == cursor
            assert piece.next_offset > piece.first_offset
            cursor = piece.next_offset
        assert cursor == max(
            [ledger[partition], *(f.next_offset for f in found if f.partition == partition)]
        )
    # Each message stays with the batch that it was loaded by, so that its tokens hold.
    for f in found:
        owner = [
            a.batch_id
            for a in adopted
            if a.partition == f.partition and a.first_offset <= f.first_offset < a.next_offset
        ]
        assert owner == [f.batch_id]


def test_what_the_ledger_knows_is_not_adopted_again() -> None:
    found = [StoredRange(1, 0, 0, 10, 10, START), StoredRange(2, 0, 10, 20, 10, START)]
    adopted = planning.adopt(found, {0: 10})
    assert [(a.batch_id, a.first_offset, a.next_offset) for a in adopted] == [(2, 10, 20)]
    assert planning.adopt(found, {0: 20}) == []
    assert planning.adopt(found, {1: 0}) == []


counts = st.builds(RowCounts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(st.dictionaries(st.integers(1, 20), counts), st.dictionaries(st.integers(1, 20), counts))
def test_a_batch_is_loaded_anew_exactly_if_rows_are_missing(
    expected: dict[int, RowCounts], found: dict[int, RowCounts]
) -> None:
    lacking = planning.incomplete(expected, found)
    assert lacking == sorted(set(lacking))
    for batch_id, wanted in expected.items():
        has = found.get(batch_id, RowCounts(0, 0, 0))
        whole = has.raw >= wanted.raw and (
            has.events + has.rejected >= wanted.events + wanted.rejected
        )
        assert (batch_id in lacking) is not whole


def test_verdicts_that_a_rebuild_moved_are_not_missing() -> None:
    assert planning.incomplete({1: RowCounts(10, 8, 2)}, {1: RowCounts(10, 3, 7)}) == []


def test_new_partitions_start_at_the_first_offset_there_is() -> None:
    assert planning.start_offsets([0], {0: (5, 9), 1: (0, 4), 2: (3, 3)}) == {1: 0, 2: 3}


def test_a_token_tells_generations_and_claims_apart() -> None:
    batch = Batch(7, 1, 0, 1, START, 0, (Range(0, 0, 5),))
    again = Batch(7, 1, 0, 3, START, 0, (Range(0, 0, 5),))
    assert batch.token("s") == again.token("s")
    later = Batch(7, 1, 0, 1, START + timedelta(milliseconds=1), 0, ())
    rewritten = Batch(7, 1, 1, 1, START, 0, ())
    assert len({x.token("s") for x in (batch, later, rewritten)}) == 3


def test_conditions_and_labels_read_well() -> None:
    assert ranges_condition([Range(3, 5, 9)]) == "(partition = 3 AND offset >= 5 AND offset < 9)"
    assert ranges_condition([]) == "0"
    assert compact([4, 0, 1, 2, 7]) == "0-2,4,7"


def test_a_run_ends_as_planned_if_every_share_was_loaded_until_its_time_was_up() -> None:
    whole, early = {"is_outdated": False}, {"is_outdated": True}
    assert planning.ended_as_planned([{}, {}], [whole, whole])
    assert not planning.ended_as_planned([{}, {}], [whole, early])
    assert not planning.ended_as_planned([{}, {}], [whole])  # a task failed
    assert not planning.ended_as_planned(None, [])  # the plan failed
    assert not planning.ended_as_planned([], [])  # no source is active
