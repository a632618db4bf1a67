"""What the cache is asked for."""

from __future__ import annotations

import math
from typing import NamedTuple

from millrace.api.query.cache.entries import digest
from millrace.api.query.cache.generations import Generation


class Wanted(NamedTuple):
    """An answer that is asked for: a tuple, since each hit makes some.

    Args:
        key: The question, with what else the answer depends on, such as the asker's rights.
        generation: As ``Generations.of`` gave it before the answer is asked for.
        max_age: For how many seconds rows that came may be missing. What went or was changed never
            shows for longer than the cache takes to notice.
        role: Whose limits its computation has; nobody is refused for those of others.
    """

    key: str
    generation: str
    max_age: float = 0.0
    role: str = ""

    @property
    def name(self) -> str:
        """The short form of its key."""
        return digest(self.key)

    def since(self, now: float) -> float:
        """Return of when an answer must be at least, if not of the same generation.

        Of a text that does not say since when rows are as they are, none is young enough.
        """
        generation = self.generation
        if not isinstance(generation, Generation):
            return math.inf
        if not self.max_age:
            return generation.since
        return min(generation.since, max(generation.grown_since, now - self.max_age))
