"""Who asks, and what they may: roles, and the rights that a person or a program has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "analyst", "operator", "admin"]

ROLES: tuple[Role, ...] = ("viewer", "analyst", "operator", "admin")
"""Each may what those before it may: see numbers; see events and save views; run things; all."""


@dataclass(frozen=True)
class Principal:
    """Somebody who was recognised, with their rights.

    Args:
        name: Who it is, as ``audit_logs`` has it.
        role: What they may do.
        sources: The sources whose numbers they may see; ``None``: all.
        datasets: The datasets (of quality) that they may see; ``None``: all.
        kind: How they were recognised.
    """

    name: str
    role: Role
    sources: frozenset[str] | None = None
    datasets: frozenset[str] | None = None
    kind: Literal["user", "token", "airflow"] = "user"

    def has(self, role: Role) -> bool:
        """Tell whether they may what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def may_see(self, datasets: Iterable[str]) -> bool:
        """Tell whether they may see what is made from some datasets: any of them is enough."""
        return self.datasets is None or not self.datasets.isdisjoint(datasets)

    @property
    def row_policy(self) -> str:
        """What of the numbers they may see, as a part of a cache's key: equal for equal rights."""
        parts = []
        for name, allowed in (("sources", self.sources), ("datasets", self.datasets)):
            if allowed is not None:
                parts.append(f"{name}={','.join(sorted(allowed))}")
        return ";".join(parts)
