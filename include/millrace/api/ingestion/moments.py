"""Times as SDKs write them, and as the contract has them: ISO 8601, UTC, milliseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = -62_135_596_800_000
_LAST = 253_402_300_799_999
_NUMBER = re.compile(r"-?\d{9,19}(\.\d{1,9})?")


def milliseconds(value: Any) -> int | None:
    """Return a time in milliseconds since 1970; None for what is no time.

    A number is of seconds, milliseconds, microseconds or nanoseconds, by its size; a text is such a
    number, or ISO 8601 with a zone: one without a zone is no moment.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            value = float(value) if "." in value else int(value)
        else:
            return _of_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    size = abs(value)
    if size < 100_000_000_000:
        number = round(value * 1000)
    elif size < 100_000_000_000_000:
        number = int(value)
    elif size < 100_000_000_000_000_000:
        number = int(value // 1000)
    else:
        number = int(value // 1_000_000)
    return number if is_writable(number) else None


def is_writable(moment: int) -> bool:
    """Say whether a time lies in the years 1 to 9999, which ISO 8601 has four digits for."""
    return _FIRST <= moment <= _LAST


def _of_text(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        since = moment - _EPOCH
    except (ValueError, OverflowError):
        return None
    number = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    return number if is_writable(number) else None


def iso(moment: int) -> str:
    """Write milliseconds since 1970 as the contract has a time."""
    seconds, rest = divmod(moment, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def as_utc(text: Any) -> str | None:
    """Return a text of UTC as the contract has a time, without reading it, if it looks like one.

    So most SDKs write; digits beyond milliseconds are cut off, as the contract's type does.
    """
    if not isinstance(text, str) or text[10:11] != "T":
        return None
    size = len(text)
    if size == 24 and text[23] == "Z":
        return text
    if size >= 29 and text[-6:] == "+00:00" and text[19] == "." and text[20:-6].isdigit():
        return text[:23] + "Z"
    return None


def all_as_utc(texts: Sequence[str]) -> list[str] | None:
    """Return what ``as_utc`` returns of each text, of which there are some; nothing without one."""
    count, size = len(texts), len(texts[0])
    if set(map(len, texts)) != {size} or (size != 24 and size < 29):
        return None
    together = "".join(texts)

    def has(at: int, mark: str) -> bool:
        """Tell whether each text has the mark at a place."""
        return together[at::size] == mark * count

    if not has(10, "T"):
        return None
    if size == 24:
        return list(texts) if has(23, "Z") else None
    is_utc = has(19, ".") and all(has(size - 6 + at, mark) for at, mark in enumerate("+00:00"))
    if is_utc and all(together[at::size].isdigit() for at in range(20, size - 6)):
        return [text[:23] + "Z" for text in texts]
    return None
