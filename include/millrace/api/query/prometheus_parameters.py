"""What clients of Prometheus' HTTP API send: times, durations and selectors, as it reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from millrace.alerts import promql
from millrace.api.query.prometheus import MOST_STEPS, Times

FURTHEST_MS = 4_102_444_800_000
"""2100: no time beyond it, and none before 1970, is asked for."""
DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?"
)
UNITS_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
DISCOVERED = timedelta(days=1)
"""How far back series are looked for where no start is given."""


def now() -> int:
    """Return the time in ms since 1970."""
    return round(datetime.now(UTC).timestamp() * 1000)


def moment(text: Any) -> int:
    """Return a time in ms since 1970, which is in seconds since then or as RFC 3339 has it."""
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        try:
            at = datetime.fromisoformat(str(text))
        except ValueError:
            raise ValueError(f'cannot parse "{text}" to a valid timestamp') from None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds * 1000 <= FURTHEST_MS:
        raise ValueError(f'cannot parse "{text}" to a timestamp between 1970 and 2100')
    return round(seconds * 1000)


def duration(text: Any) -> int:
    """Return a duration in ms, which is in seconds or such as ``1m30s``."""
    try:
        length = round(min(max(float(text), -1), FURTHEST_MS / 1000) * 1000)
    except (TypeError, ValueError):
        found = DURATION.fullmatch(str(text)[:100])
        if not text or found is None:
            raise ValueError(f'cannot parse "{text}" to a valid duration') from None
        parts = zip(found.groups(), UNITS_MS, strict=True)
        length = sum(int(number) * unit for number, unit in parts if number)
    if not 0 < length <= FURTHEST_MS:
        raise ValueError("a duration is longer than zero and shorter than a century")
    return length


def _said(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description})


Moment = Annotated[int, BeforeValidator(moment), _said("Seconds since 1970, or RFC 3339.")]
Duration = Annotated[int, BeforeValidator(duration), _said("Seconds, or such as 1m30s.")]


class Evaluation(BaseModel):
    """What both kinds of query have."""

    query: str = Field(description="The expression, PromQL.", min_length=1, max_length=16_384)
    timeout: Duration | None = Field(None, description="How long it may take.")
    limit: int = Field(0, ge=0, le=1_000_000, description="Most series; 0: all.")
    lookback_delta: Duration | None = Field(
        None, description="How old a sample may be to be taken for the present one; 5m if not said."
    )

    @property
    def lookback(self) -> timedelta:
        """How old a sample may be."""
        if self.lookback_delta is None:
            return promql.LOOKBACK
        return timedelta(milliseconds=self.lookback_delta)


class InstantQuery(Evaluation):
    """An expression, and the time that it is asked for."""

    time: Moment | None = Field(None, description="When; now if it is not said.")

    @property
    def times(self) -> Times:
        """When it is evaluated."""
        at = now() if self.time is None else self.time
        return Times(at, at, lookback=self.lookback)


class RangeQuery(Evaluation):
    """An expression, and the times that it is asked for."""

    start: Moment
    end: Moment
    step: Duration

    @model_validator(mode="after")
    def _are_times(self) -> RangeQuery:
        if self.end < self.start:
            raise ValueError("end timestamp must not be before start time")
        if (self.end - self.start) // self.step > MOST_STEPS:
            raise ValueError(
                f"exceeded maximum resolution of {MOST_STEPS:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        return self

    @property
    def times(self) -> Times:
        """When it is evaluated."""
        return Times(self.start, self.end, self.step, self.lookback)


class Discovery(BaseModel):
    """Which series: those of any of the selectors, between two times."""

    match: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        [], alias="match[]", max_length=50, description="Selectors; none: every series."
    )
    start: Moment | None = Field(None, description="A day before the end if it is not said.")
    end: Moment | None = Field(None, description="Now if it is not said.")
    limit: int = Field(0, ge=0, le=1_000_000, description="Most that are listed; 0: all.")

    @property
    def times(self) -> Times:
        """The samples' times."""
        end = now() if self.end is None else self.end
        before = max(0, end - round(DISCOVERED.total_seconds() * 1000))
        return Times(before if self.start is None else self.start, end)
