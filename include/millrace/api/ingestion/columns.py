"""What is asked of many values at once: to ask it of each would cost several times as much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FEW = 8
"""So many events are not worth being looked at together."""

_HEXADECIMAL = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)
_ID_SHAPE = b"00000000-0000-0000-0000-000000000000"


def of(objects: Sequence[Any]) -> dict[str, tuple[Any, ...]] | None:
    """Return the values of objects by their keys; nothing unless all have the same in one order."""
    if set(map(type, objects)) != {dict}:
        return None
    shapes = set(map(tuple, objects))
    if len(shapes) != 1:
        return None
    return dict(zip(shapes.pop(), zip(*map(dict.values, objects), strict=True), strict=True))


def are_ids(texts: Sequence[str]) -> bool:
    """Tell whether all texts are UUIDs with hyphens."""
    # With each digit a zero, what is left of an id is its shape.
    shapes = "\n".join(texts).encode("utf-8", "replace").translate(_HEXADECIMAL)
    return shapes == b"\n".join([_ID_SHAPE] * len(texts))


def are_alike(values: Sequence[Any]) -> bool:
    """Tell whether all values, of which there is at least one, are the same text, or all none."""
    types = set(map(type, values))
    return (types == {str} or types == {type(None)}) and values.count(values[0]) == len(values)
