"""Expectation suites: YAML under ``expectations/``, one file per dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from millrace.settings import REPOSITORY

FOLDER = REPOSITORY / "expectations"
OWN_KEYS = {"expect", "windows"}


@dataclass(frozen=True)
class Suite:
    """What is expected of a dataset: a table (or mart) seen through windows of a time column."""

    dataset: str
    table: str
    time_column: str
    windows: tuple[str, ...]
    publishes: bool
    expectations: tuple[dict[str, Any], ...]

    def expectations_for(self, kind: str) -> list[dict[str, Any]]:
        """Return what is expected of a kind of window."""
        return [e for e in self.expectations if kind in e.get("windows", self.windows)]


def load_suites() -> list[Suite]:
    """Read every suite. Raises ``ValueError`` naming the file that is wrong."""
    suites = []
    for path in sorted(FOLDER.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            suites.append(
                Suite(
                    dataset=content["dataset"],
                    table=content["table"],
                    time_column=content["time_column"],
                    windows=tuple(content["windows"]),
                    publishes=content["publishes"],
                    expectations=tuple(content["expectations"]),
                )
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"expectations/{path.name}: {error} is missing or wrong") from error
    return suites


def build(suite: Suite, kind: str) -> list[Any]:
    """Return the suite's expectations as Great Expectations' own.

    Raises ``ValueError`` naming the expectation that the library does not know or take.
    """
    import great_expectations.expectations as known

    built = []
    for entry in suite.expectations_for(kind):
        options = {key: value for key, value in entry.items() if key not in OWN_KEYS}
        try:
            built.append(getattr(known, entry["expect"])(**options))
        except Exception as error:
            raise ValueError(
                f"expectations of {suite.dataset}: {entry.get('expect')}: {error}"
            ) from error
    return built
