"""Where a record batch that can't be decoded ends is found by asking, exactly and seldom."""

from __future__ import annotations

import pytest

from millrace.ingest.unreadable import first_outside


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100, 1_000, 99_999, 100_000])
def test_the_end_of_a_batch_is_found(size: int) -> None:
    asked: list[int] = []

    def is_inside(offset: int) -> bool:
        asked.append(offset)
        return 500 <= offset < 500 + size

    assert first_outside(500, 100_500, is_inside) == 500 + size
    assert all(500 < offset < 100_500 for offset in asked)
    assert len(asked) <= 2 * 17
