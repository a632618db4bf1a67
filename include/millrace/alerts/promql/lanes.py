"""Several rules in one statement: each on a lane of its own.

A statement's rows are told apart by their time and their labels. Rules are therefore laid end to
end on the time axis, ``WIDTH`` ms from one to the next: rule 3's noon is ``3 * WIDTH`` after rule
0's. Whatever groups, joins or numbers rows by time then keeps rules apart without knowing of them,
differences between times stay what they are, and only what needs the time of day asks ``clock``.
Lane 0 is the time axis itself, so the statement of one rule alone needs nothing of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 10**14
"""Longer than any rule looks back: 3,168 years, half before 1970 and half after."""


def split(t: int) -> tuple[int, int]:
    """Return the lane and the time that a row's ``t`` stands for."""
    lane, since = divmod(t + WIDTH // 2, WIDTH)
    return lane, since - WIDTH // 2


@dataclass(frozen=True)
class Lanes:
    """How many rules a statement judges, and SQL that needs to know it."""

    count: int = 1

    @property
    def starts(self) -> str:
        """An array of the lanes' offsets, in ms."""
        return f"arrayMap(i -> i * {WIDTH}, range({self.count}))"

    def lane(self, t: str) -> str:
        """Return the number of the lane that ``t`` is on."""
        return f"intDiv({t} + {WIDTH // 2}, {WIDTH})" if self.count > 1 else "0"

    def start(self, t: str) -> str:
        """Return the offset of the lane that ``t`` is on, in ms."""
        return f"{WIDTH} * {self.lane(t)}" if self.count > 1 else "0"

    def clock(self, t: str) -> str:
        """Return the time that ``t`` stands for, in ms since 1970."""
        return f"({t} - {self.start(t)})" if self.count > 1 else t

    def pick(self, values: Sequence[str], t: str = "t") -> str:
        """Return the SQL of the value that belongs to the lane of ``t``, of one value a lane."""
        if len(set(values)) == 1:
            return values[0]
        return f"[{', '.join(values)}][1 + {self.lane(t)}]"
