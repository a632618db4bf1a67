"""What audits find: the result of each expectation, and of a window as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from millrace.quality.suites import LIMIT
from millrace.quality.windows import Window


class QualityError(RuntimeError):
    """A window did not hold what is expected of it; the message says what is wrong."""


@dataclass(frozen=True)
class Finding:
    """The result of one expectation."""

    expectation: str
    severity: str
    is_success: bool
    observed: dict[str, Any]
    check: str = ""
    """What was run: SQL, or the expectation with its arguments."""
    examples: list[dict[str, Any]] = field(default_factory=list)

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
        """What failed and withholds the window."""
        return [f for f in self.findings if not f.is_success and f.severity == "critical"]

    @property
    def warnings(self) -> list[Finding]:
        """What failed and is only reported."""
        return [f for f in self.findings if not f.is_success and f.severity != "critical"]

    def summary(self) -> str:
        """Return a few lines that a person can act on."""
        verdict = "WITHHELD" if self.failures else "published"
        lines = [f"{self.dataset} {self.window.label}: {verdict}"]
        for found in [*self.failures, *self.warnings]:
            said = short(found.observed, found.examples)
            lines.append(f"  {found.severity}: not so: {found.expectation} ({said})")
        return "\n".join([*lines, f"  report: {self.link}"])


def short(observed: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    """Return what an expectation found, in a line."""
    parts = []
    if "unexpected_count" in observed:
        parts.append(f"{observed['unexpected_count']:,} of {observed['element_count']:,}")
    elif "error" in observed:
        parts.append(observed["error"])
    elif not examples:
        parts.append(f"found {observed.get('observed_value')}")
    if examples:
        pairs = ", ".join(f"{key} = {value}" for key, value in examples[0].items())
        parts.append(f"for example {pairs}")
    return ", ".join(parts)[:300]
