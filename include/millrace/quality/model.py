"""What audits find: the result of each expectation, and of a window as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from millrace.quality import wording
from millrace.quality.suites import LIMIT
from millrace.quality.windows import Window


class QualityError(RuntimeError):
    """A window did not hold what is expected of it; the message says what is wrong."""


@dataclass(frozen=True)
class Finding:
    """The result of one expectation."""

    expectation: str
    """What is so when it holds."""
    otherwise: str
    """What is so when it does not hold."""
    severity: str
    is_success: bool
    observed: dict[str, Any]
    check: str = ""
    """What was run: SQL, or the expectation with its arguments."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_checked(self) -> bool:
        """Whether it could be checked at all: one that could not says nothing of the data."""
        return "error" not in self.observed

    @property
    def statement(self) -> str:
        """What is so, or what is not known."""
        if not self.is_checked:
            return f"It is not known whether this holds: {self.expectation}"
        return self.expectation if self.is_success else self.otherwise

    @property
    def is_cut(self) -> bool:
        """Whether there may be more than was found: queries stop at a number of rows."""
        return self.observed.get("observed_value") == len(self.examples) == LIMIT


@dataclass(frozen=True)
class Audit:
    """The results of one dataset's window."""

    dataset: str
    window: Window
    report: str
    link: str
    checked_at: datetime
    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        """What withholds the window: it is critical, and does not hold or could not be checked."""
        return [f for f in self.findings if not f.is_success and f.severity == "critical"]

    @property
    def warnings(self) -> list[Finding]:
        """What does not hold or could not be checked, and is only reported."""
        return [f for f in self.findings if not f.is_success and f.severity != "critical"]

    @property
    def unchecked(self) -> list[Finding]:
        """Failures that could not be checked: they say nothing of the data."""
        return [f for f in self.failures if not f.is_checked]

    def summary(self) -> str:
        """Return a few lines that a person can act on."""
        verdict = "WITHHELD" if self.failures else "published"
        lines = [f"{self.dataset} {self.window.label}: {verdict}"]
        for found in [*self.failures, *self.warnings]:
            state = found.severity if found.is_checked else f"{found.severity}, could not run"
            said = wording.found(found.observed, found.examples, at_least=found.is_cut)
            lines.append(f"  {state}: {found.statement} ({said})")
        return "\n".join([*lines, f"  report: {self.link}"])
