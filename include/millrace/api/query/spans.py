"""Stretches of time as sorted bounds: ``[start, end, start, end, …]``, in seconds since 1970."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Spans = tuple[int, ...]


def spans(pairs: Iterable[tuple[int, int]]) -> Spans:
    """Return the union of pairs of start and end, none of which need be sorted or apart."""
    bounds: list[int] = []
    for start, end in sorted(pairs):
        if start >= end:
            continue
        if bounds and start <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += (start, end)
    return tuple(bounds)


def pairs(bounds: Spans) -> list[tuple[int, int]]:
    """Return each stretch's start and end."""
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def union(*several: Spans) -> Spans:
    """Return what is in any."""
    return spans(pair for bounds in several for pair in pairs(bounds))


def before(bounds: Spans, limit: int) -> Spans:
    """Return what lies before a moment."""
    return spans((start, min(end, limit)) for start, end in pairs(bounds))


def common(several: Sequence[Spans]) -> Spans:
    """Return what is in all."""
    if not several:
        return ()
    found = several[0]
    for other in several[1:]:
        found = spans(
            (max(start, first), min(end, last))
            for start, end in pairs(found)
            for first, last in pairs(other)
            if first < end and last > start
        )
    return found


def cover(bounds: Spans, start: int, end: int) -> bool:
    """Tell whether one stretch holds all of ``[start, end)``."""
    index = bisect_right(bounds, start)
    return index % 2 == 1 and bounds[index] >= end


def meet(bounds: Spans, start: int, end: int) -> bool:
    """Tell whether any stretch has a part in ``[start, end)``."""
    index = bisect_right(bounds, start)
    return index % 2 == 1 or (index < len(bounds) and bounds[index] < end)


def within(bounds: Spans, start: int, end: int) -> Spans:
    """Return what lies in ``[start, end)``."""
    first, last = bisect_right(bounds, start), bisect_right(bounds, end - 1)
    inside = bounds[first:last]
    if first % 2:
        inside = (start, *inside)
    if last % 2:
        inside = (*inside, end)
    return inside
