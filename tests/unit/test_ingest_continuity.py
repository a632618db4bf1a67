"""Where a log that was cut is read on: behind the last message that is the one that was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from millrace.ingest.continuity import Comparison, end_of_same
from millrace.ingest.model import Range

KEPT = {offset: f"m{offset}" for offset in range(40_000)}


def comparing(now: Mapping[int, str], asked: list[Range]) -> Callable[[Range], Comparison]:
    """Return how a log compares with what was kept; nothing is known of what is ``-``."""

    def compare(span: Range) -> Comparison:
        asked.append(span)
        offsets = range(span.first_offset, span.next_offset)
        there = {o: now.get(o) for o in offsets if o in KEPT and now.get(o) != "-"}
        return {o: None if value is None else value == KEPT[o] for o, value in there.items()}

    return compare


def cut(at: int, *sent: str) -> dict[int, str]:
    """Return the log as it is once it was cut, and ``sent`` came."""
    return {o: KEPT[o] for o in range(at)} | dict(enumerate(sent, at))


OTHER = [f"n{number}" for number in range(40_000)]


@pytest.mark.parametrize(
    ("log", "start"),
    [
        (cut(39_999), 39_999),
        (cut(100), 100),
        (cut(39_000, *OTHER[:1_000]), 39_000),
        (cut(38_500, *OTHER[:1_500]), 38_500),
        (cut(1, *OTHER[:39_999]), 1),
        (cut(0, *OTHER), 0),
        # Sent again as it was, but for the first: at the offsets that they had.
        (cut(39_990, "n", *(KEPT[o] for o in range(39_991, 40_000))), 39_990),
        (cut(35_000, "n", *(KEPT[o] for o in range(35_001, 40_000))), 35_000),
        (cut(39_990, *(KEPT[o] for o in range(39_990, 40_000))), 40_000),
        # Nothing of it was kept.
        ({40_000 + o: "x" for o in range(10)}, 0),
        # Erased messages and compacted ones tell nothing.
        (
            {o: KEPT[o] if o % 2 == 0 and o < 39_000 else "-" for o in range(39_001)}
            | {39_001: "n"},
            38_999,
        ),
        # Markers where messages were kept.
        (cut(39_990) | {39_995: "n"}, 39_990),
        (cut(38_500) | {39_999: "n"}, 38_500),
        (cut(38_500) | {39_999: "-"}, 38_500),
        # What is lacking before a message that is the same was compacted, once.
        ({o: KEPT[o] for o in range(0, 40_000, 2)} | {39_999: "n"}, 39_999),
        ({o: KEPT[o] for o in (*range(30_000), *range(38_500, 39_500))} | {39_999: "-"}, 39_500),
    ],
)
def test_it_is_read_on_where_it_differs(log: dict[int, str], start: int) -> None:
    asked: list[Range] = []
    end = min(max(log) + 1, 40_000)
    assert end_of_same(3, 0, end, comparing(log, asked)) == start
    assert {span.partition for span in asked} == {3}


def test_no_more_is_compared_than_has_to_be() -> None:
    asked: list[Range] = []
    end_of_same(0, 0, 40_000, comparing(cut(39_500, *OTHER[:500]), asked))
    assert sum(map(len, asked)) <= 11_000


def test_what_retention_took_is_not_asked_for() -> None:
    asked: list[Range] = []
    log = dict.fromkeys(range(39000, 40000), "n")
    assert end_of_same(0, 39_000, 40_000, comparing(log, asked)) == 39_000
    assert [span.first_offset for span in asked] == [39_000]
