"""What the parts of a partition tell."""

from __future__ import annotations

import itertools

import pytest

from millrace.api.query.cache.content import Part, Partition, State, Table

HOUR = 3600
_digests = itertools.count(1)


def part(
    blocks: tuple[int, int],
    hours: tuple[int, int] = (9, 9),
    *,
    mutation: int = 0,
    folder: str = "a",
    expires: int = 0,
) -> Part:
    """A part as an insert, a merge or a mutation leaves it."""
    first, last = blocks
    return Part(
        folder,
        f"20260101_{first}_{last}_1_{mutation}",
        next(_digests),
        first,
        last,
        mutation or first,
        hours[0] * HOUR,
        hours[1] * HOUR,
        expires,
    )


def state(partition: Partition, hour: int) -> State | None:
    """What is told of an hour."""
    return partition.within(hour * HOUR, (hour + 1) * HOUR)


OLD, NEW = part((1, 5), (1, 9)), part((6, 6))


def test_an_insert_changes_the_times_of_its_rows() -> None:
    partition = Partition.seen([OLD], 100.0)
    before = {hour: state(partition, hour) for hour in (8, 9, 10)}
    assert partition.observe([OLD, NEW], [], 200.0, is_ordered=True) == [NEW]
    assert state(partition, 8) == before[8]
    assert state(partition, 9) != before[9]
    told = state(partition, 9)
    assert told
    assert (told.since, told.grown_since) == (200.0, 100.0)
    assert state(partition, 10) is None


def test_a_day_that_was_not_there_came() -> None:
    table = Table("one", "MergeTree", 100.0)
    table.observe("1", [OLD], [], 100.0)
    assert table.within(0, 10 * HOUR)[1:] == (100.0, 100.0)
    table.observe("2", [NEW], [], 200.0)
    assert table.within(0, 10 * HOUR)[1:] == (200.0, 100.0)
    table.observe("3", [part((1, 1), mutation=2)], [], 300.0)
    assert table.within(0, 10 * HOUR)[1:] == (300.0, 300.0), "rows may have gone unseen"


@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_merge_changes_nothing(is_ordered: bool) -> None:
    partition = Partition.seen([OLD, NEW], 100.0)
    before = state(partition, 9)
    assert partition.observe([part((1, 6), (1, 9))], [], 200.0, is_ordered=is_ordered) == []
    assert state(partition, 9) == before


@pytest.mark.parametrize(
    ("seen", "then"),
    [
        pytest.param([OLD, NEW], [part((1, 7), (1, 9))], id="a merge with an insert not seen"),
        pytest.param([OLD, NEW], [OLD], id="a part dropped"),
        pytest.param([OLD, NEW], [], id="the partition dropped"),
        pytest.param([OLD, NEW], [part((1, 5), (1, 9), mutation=7), NEW], id="half of a mutation"),
        pytest.param([OLD, NEW], [part((1, 6), (1, 9), mutation=7)], id="a mutation and a merge"),
        pytest.param([OLD, NEW], [part((8, 8), (1, 9))], id="the partition replaced"),
        pytest.param(
            [part((1, 5), (1, 9))], [part((1, 5), (1, 9), folder="b")], id="tables exchanged"
        ),
        pytest.param(
            [part((1, 5), (1, 9), expires=150)], [part((1, 5), (1, 9))], id="rows expired"
        ),
    ],
)
def test_a_change_of_rows_is_told(seen: list[Part], then: list[Part]) -> None:
    partition = Partition.seen(seen, 100.0)
    before = state(partition, 9)
    assert partition.observe(then, [], 200.0, is_ordered=True)
    told = state(partition, 9)
    assert told != before
    assert told is None or told.grown_since == 200.0, "rows may have gone"


def test_a_mutation_of_old_parts_survives_a_merge_with_newer_ones() -> None:
    mutated, inserted = part((1, 5), (1, 9), mutation=6), part((7, 7))
    partition = Partition.seen([mutated, inserted], 100.0)
    assert partition.observe([part((1, 7), (1, 9), mutation=6)], [], 200.0, is_ordered=True) == []


def test_a_block_that_a_replica_commits_late_is_seen_although_it_is_merged_at_once() -> None:
    partition = Partition.seen([part((1, 5), (1, 9)), part((7, 8), (9, 9))], 100.0)
    assert partition.observe([part((1, 8), (1, 9))], [], 200.0, is_ordered=False)


def test_processes_that_saw_the_same_parts_say_the_same() -> None:
    one, other = Partition.seen([OLD], 100.0), Partition.seen([OLD], 150.0)
    late = part((7, 7), (3, 3))
    one.observe([OLD, NEW], [], 200.0, is_ordered=True)
    one.observe([OLD, NEW, late], [], 201.0, is_ordered=True)
    other.observe([OLD, NEW, late], [], 202.0, is_ordered=True)
    for hour in (3, 8, 9):
        ours, theirs = state(one, hour), state(other, hour)
        assert ours
        assert theirs
        assert ours.text == theirs.text


def test_an_insert_that_was_merged_before_anybody_looked_touches_its_own_times_only() -> None:
    partition = Partition.seen([OLD], 100.0)
    before = state(partition, 8)
    between, last = part((6, 6)), part((8, 8))
    merged = [between, last, part((6, 8)), part((3, 3), (1, 2))]
    whole = part((1, 8), (1, 9))
    assert partition.observe([whole], merged, 200.0, is_ordered=True) == [whole]
    assert state(partition, 8) == before
    after = partition.within(9 * HOUR, 10 * HOUR)
    assert after
    assert after.since == 200.0
    assert after.grown_since == 100.0


def test_where_the_last_insert_is_not_among_the_merged_everything_is_touched() -> None:
    partition = Partition.seen([OLD], 100.0)
    before = state(partition, 8)
    assert partition.observe([part((1, 8), (1, 9))], [part((6, 6))], 200.0, is_ordered=True)
    assert state(partition, 8) != before
