"""Expectation suites: YAML under ``expectations/``, one file per dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from millrace.contract import yaml_text
from millrace.contract.failures import REASONS
from millrace.quality.windows import KINDS, Window
from millrace.settings import REPOSITORY

FOLDER = REPOSITORY / "expectations"
KEYS = {
    *("dataset", "relation", "time_column", "where", "windows", "publishes", "made_from"),
    "expectations",
}
SUFFIXES = {".yaml", ".yml"}
LIMIT = 20
"""Rows that a query may find: enough to say what is wrong."""
TEXTS = ("dataset", "relation", "time_column", "where")
LISTED = ("windows", "expectations", "made_from")
OWN_KEYS = {"expect", "windows", "query", "otherwise"}
LISTS = {"rejection_reasons": list(REASONS)}
"""Lists of the contract that a suite names in the place of a list of its own."""


@dataclass(frozen=True)
class Suite:
    """What is expected of a dataset: a base table or a mart, seen through windows of time.

    ``where`` is for datasets whose windows are not a range of ``time_column``; ``made_from`` names
    datasets without whose publication a window of this one is not published either.

    Each expectation has a ``description``, which is true when it holds, and ``otherwise``, which is
    true when it does not.
    """

    dataset: str
    relation: str
    windows: tuple[str, ...]
    publishes: bool
    expectations: tuple[dict[str, Any], ...]
    time_column: str = ""
    where: str = ""
    made_from: tuple[str, ...] = ()

    def relation_in(self, base: str) -> str:
        """Return the relation with ``{database}`` filled in: ``base`` has the base tables."""
        return self.relation.replace("{database}", base)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` when the parts do not fit together."""
        if unknown := set(self.windows) - set(KINDS):
            raise ValueError(f"windows: {sorted(unknown)} are not among {', '.join(KINDS)}")
        if not (self.dataset.strip() and self.relation.strip()):
            raise ValueError("dataset, relation: neither may be empty")
        if not isinstance(self.publishes, bool):
            raise ValueError(f"publishes: {self.publishes!r} is neither true nor false")
        if self.publishes and not self.time_column:
            raise ValueError("publishes: needs a time_column, whose windows are published")
        for entry in self.expectations:
            if strange := set(entry.get("windows", ())) - set(self.windows):
                raise ValueError(
                    f"{entry.get('expect')}: windows: {sorted(strange)} are not among the suite's, "
                    f"{', '.join(self.windows)}"
                )
            said = [entry.get(key) or "" for key in ("description", "otherwise")]
            if not all(said) or said[0] == said[1]:
                raise ValueError(
                    f"{entry.get('expect')}: needs a description, which is so when it holds, and "
                    "otherwise: what is so when it does not"
                )
        if idle := [kind for kind in self.windows if not self.expectations_for(kind)]:
            raise ValueError(f"windows: nothing is expected of {', '.join(idle)}")

    @property
    def table(self) -> str:
        """The table or view itself, with its database if that is not the base tables'."""
        return self.relation.split()[0]

    @property
    def is_derived(self) -> bool:
        """Whether the relation is a query of its own rather than a table or view."""
        return self.relation.startswith("(")

    def expectations_for(self, kind: str) -> list[dict[str, Any]]:
        """Return what is expected of a kind of window."""
        return [e for e in self.expectations if kind in e.get("windows", self.windows)]

    def condition(self, window: Window) -> str:
        """Return the SQL condition that a row is of a window."""
        if self.where:
            return fill(self.where, window)
        if not self.time_column:
            return "true"
        return fill(f"{self.time_column} >= {{start}} AND {self.time_column} < {{end}}", window)


def fill(statement: str, window: Window) -> str:
    """Put a window's bounds in the place of ``{start}`` and ``{end}``."""
    return statement.replace("{start}", literal(window.start)).replace("{end}", literal(window.end))


def literal(moment: datetime) -> str:
    """Return a moment as SQL: a ``DateTime64``, since against a ``DateTime`` rows can be missed."""
    return f"toDateTime64('{moment:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"


def load_suites() -> list[Suite]:
    """Read every suite that can be read; ``faults`` says what is wrong with the others."""
    return [read for read in _read_all().values() if isinstance(read, Suite)]


def faults() -> list[str]:
    """Return what is wrong with the files that can't be read, each with its name."""
    return [read for read in _read_all().values() if isinstance(read, str)]


def _read_all() -> dict[Path, Suite | str]:
    """Return the suite of each file, or what is wrong with it."""
    found: dict[Path, Suite | str] = {}
    places: dict[str, Path] = {}
    for path in sorted(FOLDER.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(FOLDER).parts)
        if is_hidden or path.suffix not in SUFFIXES:
            continue  # what editors leave there is hidden
        try:
            suite = _read(path)
            other = places.setdefault(suite.dataset, path)
            if other is not path:
                raise ValueError(f"dataset: {suite.dataset} is that of {_named(other)}")
            found[path] = suite
        except (KeyError, TypeError, ValueError, AttributeError, OSError, yaml.YAMLError) as error:
            missing = " is missing" if isinstance(error, KeyError) else ""
            found[path] = f"{_named(path)}: {error}{missing}"
    return found


def _named(path: Path) -> str:
    return f"expectations/{path.relative_to(FOLDER)}"


def _read(path: Path) -> Suite:
    content = yaml_text.load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no suite: keys such as dataset, relation, expectations")
    if unknown := set(content) - KEYS:
        raise ValueError(f"{sorted(unknown)} are not known, but {', '.join(sorted(KEYS))}")
    for key in TEXTS:
        if not isinstance(content.get(key, ""), str):
            raise ValueError(f"{key}: {content[key]!r} is not a text, which quotes make of it")
    for key in LISTED:
        if not isinstance(content.get(key, []), list):
            raise ValueError(f"{key}: {content[key]!r} is not a list")
    return Suite(
        dataset=content["dataset"],
        relation=content["relation"],
        windows=tuple(content["windows"]),
        publishes=content["publishes"],
        expectations=tuple(content["expectations"]),
        time_column=content.get("time_column", ""),
        where=content.get("where", ""),
        made_from=tuple(content.get("made_from", ())),
    )


def build(suite: Suite, window: Window) -> list[Any]:
    """Return the suite's expectations of a window as Great Expectations' own.

    Raises ``ValueError`` naming the expectation that the library does not know or take.
    """
    import great_expectations.expectations as known

    from millrace.quality.expectations import ExpectNoRows

    built = []
    for entry in suite.expectations_for(window.kind):
        options = {key: value for key, value in entry.items() if key not in OWN_KEYS}
        options["meta"] = {"otherwise": entry["otherwise"]}
        try:
            if isinstance(name := options.get("value_set"), str):
                options["value_set"] = LISTS[name]
            if entry["expect"] == ExpectNoRows.__name__:
                query = f"{fill(entry['query'], window)} LIMIT {LIMIT}"
                built.append(ExpectNoRows(unexpected_rows_query=query, **options))
            else:
                built.append(getattr(known, entry["expect"])(**options))
        except Exception as error:
            said = f"there is no list {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"expectations of {suite.dataset}: {entry.get('expect')}: {said}"
            ) from error
    return built
