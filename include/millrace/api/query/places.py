"""Places for those who are not known yet: they can't fill the memory, nor take every thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from millrace.api.http import ProblemError


class Places:
    """So many may be at something at once. Nobody queues: who finds no place comes again.

    It belongs to one event loop.
    """

    def __init__(self, most: int, detail: str) -> None:
        self._free = most
        self._detail = detail

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a place for as long as the block runs. Raises ``ProblemError`` (503)."""
        if not self._free:
            raise ProblemError(503, "busy", self._detail, retry_after=2)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
