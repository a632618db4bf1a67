"""What a file is read into, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class FileError(ValueError):
    """A file that can't be read, or not surely as it was meant; says where, and what to do."""


@dataclass(frozen=True)
class Record:
    """A row as it was read, or why it could not be read.

    ``number`` counts rows from 1, good and bad; ``line`` is where a person finds it in the file
    (in Parquet, which has no lines, the row's number). ``source`` is the row as the file has it,
    for ``Rows.keeping``; nothing of one that is too long to be held.
    """

    number: int
    line: int
    row: dict[str, Any]
    problem: str = ""
    source: Any = field(default=None, repr=False, compare=False)


class Keeper(Protocol):
    """Writes rows of a file into another of the same format."""

    def add(self, record: Record) -> None:
        """Write a row as it was read."""


class Rows(Protocol):
    """The rows of a file."""

    columns: list[str]
    """Names of the columns; empty where each row brings its own."""

    total: int | None
    """How many rows there are, where the file says so itself."""

    suffix: str
    """What the name of a file that ``keeping`` writes ends in."""

    def records(self) -> Iterator[Record]:
        """Yield every row in order. Raises ``FileError``, or ``OSError``."""

    def keeping(self, path: Path) -> AbstractContextManager[Keeper]:
        """Open another file, recreated, for rows of this one."""
