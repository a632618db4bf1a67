"""A question's buckets in pieces, and a statement's rows given back to them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from millrace.api.query.pieces import Piece, Planned
from millrace.api.query.plans import Plan

MOMENT = datetime(2026, 1, 5, tzinfo=UTC)


def test_rows_go_to_the_piece_that_their_bucket_is_of() -> None:
    lengths = ((0, 3), (3, 5), (5, 6))
    pieces = [Piece(range(*bounds), f"p{bounds}", MOMENT, MOMENT) for bounds in lengths]
    planned = Planned(cast(Plan, SimpleNamespace()), pieces)
    rows = [[0, "de", 1], [2, "de", 2], [3, "us", 3], [3, "de", 4]]
    assert planned.parted([0, 2], rows) == [
        [[0, "de", 1], [2, "de", 2]],
        [[0, "us", 3], [0, "de", 4]],
    ]
    assert planned.parted([1], [[1, 7]]) == [[[1, 7]]]
