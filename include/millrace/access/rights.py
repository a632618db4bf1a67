"""Rights as they are kept: a role, and the sources and datasets that somebody may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from millrace.access.keys import AccessError
from millrace.access.roles import ROLES, Principal, Role


@dataclass(frozen=True)
class Rights:
    """What somebody may; ``None`` stands for all sources, or all datasets."""

    role: Role
    sources: Sequence[str] | None = None
    datasets: Sequence[str] | None = None

    def exceed(self, giver: Principal) -> bool:
        """Tell whether they are more than somebody has, who so can't give them."""
        pairs = ((self.sources, giver.sources), (self.datasets, giver.datasets))
        return any(
            own is not None and (wanted is None or not own.issuperset(wanted))
            for wanted, own in pairs
        )

    def columns(self) -> dict[str, object]:
        """Return them as tables have them. Raises ``AccessError`` for a role that is none."""
        if self.role not in ROLES:
            raise AccessError(f"there is no role {self.role!r}; there are {', '.join(ROLES)}")
        return {
            "role": self.role,
            "sources": None if self.sources is None else sorted(set(self.sources)),
            "datasets": None if self.datasets is None else sorted(set(self.datasets)),
        }

    def principal(self, name: str, kind: Literal["user", "token", "airflow"]) -> Principal:
        """Return who asks with them."""
        return Principal(
            name,
            self.role,
            None if self.sources is None else frozenset(self.sources),
            None if self.datasets is None else frozenset(self.datasets),
            kind,
        )
