"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait until ``condition`` holds; raises ``TimeoutError`` if it does not in ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not become true within {timeout} s")
        time.sleep(0.1)
