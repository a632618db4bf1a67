"""Stretches of time against sets of whole seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.api.query import spans

Pairs = list[tuple[int, int]]
SOME = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def seconds(bounds: spans.Spans) -> set[int]:
    return {second for start, end in spans.pairs(bounds) for second in range(start, end)}


def of(pairs: Pairs) -> set[int]:
    return {second for start, end in pairs for second in range(start, end)}


@given(SOME, SOME, st.integers(0, 40), st.integers(0, 40))
def test_they_are_what_sets_are(one: Pairs, other: Pairs, start: int, end: int) -> None:
    first, second = spans.spans(one), spans.spans(other)
    assert seconds(first) == of(one)
    assert list(first) == sorted(set(first))  # apart, and none of them empty
    assert seconds(spans.union(first, second)) == of(one) | of(other)
    assert seconds(spans.common([first, second])) == of(one) & of(other)
    assert seconds(spans.before(first, end)) == {at for at in of(one) if at < end}
    if start < end:
        asked = set(range(start, end))
        assert spans.meet(first, start, end) == bool(asked & of(one))
        assert spans.cover(first, start, end) == (asked <= of(one))
        assert seconds(spans.within(first, start, end)) == asked & of(one)
