"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from millrace import waiting

T = TypeVar("T")


def until(condition: Callable[[], T | None], timeout: float = 30) -> T:
    """Wait until ``condition`` holds, which the traceback shows; see ``millrace.waiting.until``."""
    return waiting.until(condition, "the condition of a test", seconds=timeout)
