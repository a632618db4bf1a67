"""What a verification found: its checks, and every difference by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN = 20
"""How many differences of a check are printed; all of them are counted."""


@dataclass(frozen=True)
class Difference:
    """One figure that is not what it must be."""

    what: str
    expected: object
    found: object


@dataclass
class Check:
    """One question put to the warehouse.

    ``compared`` says how much was held against each other, so that an empty comparison can't pass
    for a good one unnoticed. ``skipped`` gives the reason why a check could not be made.
    """

    name: str
    compared: str = ""
    differences: list[Difference] = field(default_factory=list)
    skipped: str = ""


@dataclass
class Report:
    """The checks of one verification."""

    subject: str
    checks: list[Check] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many figures differ, over all checks."""
        return sum(len(check.differences) for check in self.checks)

    def check(self, name: str) -> Check:
        """Return a check by name; raises ``KeyError`` when there is none."""
        return {check.name: check for check in self.checks}[name]

    def print(self, console: Console) -> None:
        """Print the checks as a table, and the differences of each as one more."""
        summary = Table(title=self.subject, title_justify="left")
        for heading in ("check", "compared", "differences"):
            summary.add_column(heading, justify="right" if heading == "differences" else "left")
        for check in self.checks:
            outcome = Text(f"{len(check.differences):,}", "red" if check.differences else "green")
            summary.add_row(
                Text(check.name),
                Text(check.compared or f"skipped: {check.skipped}"),
                Text("-", "yellow") if check.skipped else outcome,
            )
        console.print(summary)
        for check in (check for check in self.checks if check.differences):
            table = Table(title=check.name, title_justify="left", caption_justify="left")
            for heading in ("what", "expected", "found"):
                table.add_column(heading, overflow="fold")
            for one in check.differences[:SHOWN]:
                table.add_row(Text(one.what), Text(str(one.expected)), Text(str(one.found)))
            if len(check.differences) > SHOWN:
                table.caption = f"… and {len(check.differences) - SHOWN:,} more"
            console.print(table)


def compare(
    name: str, compared: str, expected: Mapping[str, int], found: Mapping[str, int]
) -> Check:
    """Hold counts by key against each other; a key that one side lacks counts as zero."""
    keys = sorted(expected.keys() | found.keys())
    return Check(
        name,
        compared,
        [
            Difference(key, expected.get(key, 0), found.get(key, 0))
            for key in keys
            if expected.get(key, 0) != found.get(key, 0)
        ],
    )
