"""A question's buckets in pieces, and a statement's rows given back to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from millrace.access.roles import Principal
from millrace.api.query.pieces import Piece, Planned, pieces
from millrace.api.query.plans import Plan
from millrace.api.query.questions import read_query
from millrace.api.query.ranges import Bucket
from millrace.api.query.registry import Metric, Registry, Rollup

MOMENT = datetime(2026, 1, 5, tzinfo=UTC)
VIEWER = Principal("ada", "viewer")


def test_rows_go_to_the_piece_that_their_bucket_is_of() -> None:
    lengths = ((0, 3), (3, 5), (5, 6))
    bucket = Bucket(MOMENT, MOMENT)
    several = [
        Piece((bucket,) * (end - start), start, f"p{start}", MOMENT, MOMENT)
        for start, end in lengths
    ]
    planned = Planned(cast(Plan, SimpleNamespace()), several)
    rows = [[0, "de", 1], [2, "de", 2], [3, "us", 3], [3, "de", 4]]
    assert planned.parted([0, 2], rows) == [
        [[0, "de", 1], [2, "de", 2]],
        [[0, "us", 3], [0, "de", 4]],
    ]
    assert planned.parted([1], [[1, 7]]) == [[[1, 7]]]


def sliding(now: datetime, text: str, **asked: str) -> list[Piece]:
    """The pieces of a range that ends now."""
    rollup = Rollup(
        "minutes", "minutes", 60, "at", "sum(n)", tables=("analytics.minutes",), kept_days=7
    )
    metric = Metric("n", "", "", "sum", (rollup,))
    question = read_query(
        {"name": "n", "range": text, **asked}, Registry({"n": metric}, now), now, VIEWER
    )
    found = pieces(Plan("n", question, metric, (rollup,), now), now)
    places = [piece.first + at for piece in found for at in range(len(piece.buckets))]
    buckets = [bucket for piece in found for bucket in piece.buckets]
    of_question = [
        bucket
        for place, bucket in zip(places, buckets, strict=True)
        if place in range(len(question.buckets))
    ]
    assert tuple(of_question) == question.buckets
    return found


@pytest.mark.parametrize("interval", ["1min", "5min", "15min"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_a_range_that_slides_within_an_hour_is_of_the_same_pieces(interval: str, zone: str) -> None:
    noon = MOMENT + timedelta(hours=12)
    keys = {
        tuple(piece.key for piece in sliding(now, "6h", interval=interval, tz=zone))
        for now in (noon + timedelta(minutes=at) for at in range(2, 45, 3))
    }
    assert len(keys) == 1
    (of_the_hour,) = keys
    later = sliding(noon + timedelta(hours=1, minutes=2), "6h", interval=interval, tz=zone)
    assert not set(of_the_hour) & {piece.key for piece in later}


def test_no_bucket_is_asked_that_is_kept_no_more() -> None:
    now = MOMENT + timedelta(hours=12, minutes=20)
    start = now - timedelta(days=7)
    text = f"{start:%Y-%m-%dT%H:%MZ}/{start + timedelta(hours=2):%Y-%m-%dT%H:%MZ}"
    (piece,) = sliding(now, text, interval="5min")
    assert (piece.first, piece.start) == (0, start)
