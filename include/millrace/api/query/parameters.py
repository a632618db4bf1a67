"""What may be said of a question: one text each, for all the ways in which numbers are asked.

Those are ``GET /v1/metrics``, ``POST /v1/query``, ``GET /v1/live`` and GraphQL;
tests/unit/query/test_parameters.py holds that what one of them takes, the others do.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from millrace.api.query import ranges

RANGE = f"Such as {ranges.EXAMPLES}."
INTERVAL = f"{' '.join(ranges.INTERVALS)} auto; empty: one bucket, the whole range."
ZONE = "IANA time zone of days and hours, such as Europe/Berlin."
COMPARE = "previous, or how long before: 1d, 1w, 1y."
LIMIT = "Groups at most, the largest first."
COMPLETE_ONLY = "Leave unfinished buckets out."
CURSOR = "next of the page before."
MAX_AGE = "For how many seconds new rows may be missing."
FORMAT = "json, csv or arrow; or send Accept."

MOST_AGE = 60.0
"""For how many seconds rows that came may be missing at most, where that is asked."""

NamesOf = Annotated[str, Query(description="Metrics, comma separated; /v1/items lists them.")]
RangeOf = Annotated[str, Query(alias="range", description=RANGE)]
IntervalOf = Annotated[str, Query(description=INTERVAL)]
ZoneOf = Annotated[str, Query(description=ZONE)]
GroupsOf = Annotated[str, Query(description="Dimensions, comma separated.")]
FilterOf = Annotated[
    str, Query(alias="filter", description="dimension:value, comma separated: all must hold.")
]
CompareOf = Annotated[str, Query(description=COMPARE)]
CompleteOnlyOf = Annotated[bool, Query(description=COMPLETE_ONLY)]
CursorOf = Annotated[str, Query(description=CURSOR)]
MaxAgeOf = Annotated[float, Query(description=MAX_AGE, ge=0, le=MOST_AGE)]
FormatOf = Annotated[str, Query(alias="format", description=FORMAT)]
