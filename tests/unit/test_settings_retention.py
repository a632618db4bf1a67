"""Nothing is kept for so long that ClickHouse's ``DateTime`` begins again before it expires."""

from __future__ import annotations

from pathlib import Path

import pytest
from chdb import _chdb
from pydantic import ValidationError

from millrace.rules.checks import LATEST
from millrace.settings import MOST_RETENTION_DAYS, Settings

NAMES = ("events_retention_days", "raw_retention_days")


@pytest.mark.parametrize("name", NAMES)
def test_the_longest_retention_is_taken_and_a_longer_one_is_refused(
    tmp_path: Path, name: str
) -> None:
    assert Settings(home=tmp_path, **{name: MOST_RETENTION_DAYS})
    with pytest.raises(ValidationError, match=name):
        Settings(home=tmp_path, **{name: MOST_RETENTION_DAYS + 1})


def test_the_latest_event_expires_after_it_happened() -> None:
    expiry = f"toDateTime({LATEST}) + INTERVAL {MOST_RETENTION_DAYS} DAY"
    answer = _chdb.connect(":memory:").query(f"SELECT {expiry} > {LATEST}", "TSV")
    assert bytes(answer.bytes()).strip() == b"1"
