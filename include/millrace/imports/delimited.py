"""CSV and TSV, strictly, by the standard library's reader.

docs/decisions/0023-import-readers.md says why that one.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from millrace.imports import text_files
from millrace.imports.records import FileError, Keeper, Record

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
"""What a header may be separated by, and what it is called."""

csv.field_size_limit(2 * text_files.MOST_CHARACTERS + 2)
"""More than a row can have: one that goes on after so many is one whose quote is never closed."""

_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9.,]*\s*")
_TIME = re.compile(r"\s*[0-9]{2,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}.*", re.DOTALL)


class Delimited:
    """The rows of a file of delimited text whose first line names the columns."""

    total: int | None = None

    def __init__(
        self, path: Path, *, delimiter: str = "", encoding: str = "", is_quoted: bool = True
    ) -> None:
        if len(delimiter) > 1 or delimiter in ("\n", "\r", '"'):
            raise FileError(f"--delimiter {delimiter!r} is not one character that can separate")
        self.path = path
        self.encoding = text_files.encoding_of(path, encoding)
        self.is_quoted = is_quoted
        is_tab = ".tsv" in (suffix.lower() for suffix in path.suffixes)
        self.suffix = ".tsv" if is_tab else ".csv"
        with text_files.opened(path, self.encoding) as file:
            lines = _Lines(file)
            self.delimiter = delimiter or self._delimiter("\t" if is_tab else ",")
            self.columns = next((cells for cells in self._reader(lines) if cells), [])
            self.header = "".join(lines.row)
        self._check()

    def _delimiter(self, usual: str) -> str:
        """Return what separates the header's names: the usual, else the one that does.

        Raises ``FileError`` where more than one does.
        """
        with text_files.opened(self.path, self.encoding) as file:
            header = next((line for line in text_files.lines(file) if line.strip()), "")
        if text_files.is_too_long(header):
            return usual
        splits = [
            mark for mark in DELIMITERS if len(next(csv.reader([header], delimiter=mark), [])) > 1
        ]
        if usual in splits or not splits:
            return usual
        if len(splits) > 1:
            marks = " and ".join(DELIMITERS[mark] for mark in splits)
            raise FileError(f"its header could be separated by {marks}; say which with --delimiter")
        return splits[0]

    def _check(self) -> None:
        """Name the columns that have no name, and refuse a header that leaves a doubt."""
        if text_files.is_too_long(self.header):
            raise FileError(f"its header, which begins on line 1, {text_files.TOO_LONG}")
        if not self.columns:
            raise FileError("it holds no rows")
        if "\0" in self.header:
            raise FileError(
                "its header holds NUL characters; where it is UTF-16, give --encoding utf-16-le"
            )
        if self.header.lower().startswith("sep="):
            raise FileError("line 1 is Excel's mark of the separator; take that line out")
        if text_files.is_undecoded(self.header):
            raise FileError(
                "line 1, the header, is not UTF-8; give the file's encoding, such as "
                "--encoding latin-1 or cp1252"
            )
        self.columns = [name or f"column_{number}" for number, name in enumerate(self.columns, 1)]
        for name, times in Counter(self.columns).items():
            if times > 1:
                raise FileError(
                    f"its header names the column {name!r} {times} times, so that it is not known "
                    "which one is meant; give each a name of its own"
                )

    def _reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE,
            strict=True,
        )

    def records(self) -> Iterator[Record]:
        """Yield every row in order. Raises ``FileError``, or ``OSError``."""
        with text_files.opened(self.path, self.encoding) as file:
            lines = _Lines(file)
            reader = self._reader(lines)
            number = 0
            is_header = True
            usual: list[str] = []
            while True:
                lines.begin_row()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    problem = self._problem(error, len(lines.row))
                    lines.take_back()
                    cells = []
                else:
                    is_too_long = any(map(text_files.is_too_long, lines.row))
                    problem = text_files.NOT_KEPT if is_too_long else ""
                    if not cells and not problem:
                        continue
                    if is_header:
                        is_header = False
                        continue
                number += 1
                source = "" if problem == text_files.NOT_KEPT else "".join(lines.row)
                problem = problem or self._fault(cells, source)
                if not problem and len(lines.row) == 1:
                    usual = cells
                elif not problem and self._holds_rows(lines.row, usual):
                    problem = (
                        f"a quoted value in it runs over {len(lines.row)} lines that look like "
                        "rows themselves: is its quote closed?"
                    )
                row = {} if problem else dict(zip(self.columns, cells, strict=True))
                yield Record(number, lines.first, row, problem, source)

    def _fault(self, cells: list[str], source: str) -> str:
        """Return what is wrong with a row that was read."""
        if len(cells) != len(self.columns):
            return f"has {len(cells)} columns, the header has {len(self.columns)}"
        if text_files.is_undecoded(source):
            return "is not UTF-8 (give the file's encoding with --encoding)"
        return ""

    def _holds_rows(self, lines: list[str], usual: list[str]) -> bool:
        """Tell whether a line within a value looks like a row: as many cells, of the same kinds."""
        kinds = [_kind(cell) for cell in usual]
        if not any(kinds):
            return False
        for line in lines[1:-1]:
            try:
                cells = next(self._reader(iter([line])), [])
            except csv.Error:
                continue
            if [_kind(cell) for cell in cells] == kinds:
                return True
        return False

    def _problem(self, error: csv.Error, lines: int) -> str:
        """Return what is wrong with a row that could not be read."""
        if "unexpected end of data" in str(error):
            return (
                "its quote is never closed (where quote marks mean nothing in this file, "
                "give --no-quotes)"
            )
        if "expected after" not in str(error):
            return f"is no CSV: {error}"
        further = f", {lines - 1} lines further down" if lines > 1 else ""
        return f"its quote is closed in the middle of a value{further}"

    @contextmanager
    def keeping(self, path: Path) -> Iterator[Keeper]:
        """Open another file, recreated, for rows of this one, with the same header."""
        with text_files.written(path, self.encoding) as file:
            file.write(text_files.ended(self.header))
            yield _Keeper(file)


def _kind(cell: str) -> str:
    """Return what a cell looks like: a number, a time, or (empty) any text."""
    if _NUMBER.fullmatch(cell):
        return "number"
    return "time" if _TIME.fullmatch(cell) else ""


class _Keeper:
    def __init__(self, file: TextIO) -> None:
        self.file = file

    def add(self, record: Record) -> None:
        if record.source:
            self.file.write(text_files.ended(record.source))


class _Lines:
    """Hands the reader line after line, and remembers those of the row that it reads."""

    def __init__(self, file: TextIO) -> None:
        self.lines = text_files.lines(file)
        self.row: list[str] = []
        self.first = 0
        self._read = 0
        self._size = 0
        self._again: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._size > text_files.MOST_CHARACTERS:
            raise StopIteration  # the reader ends the row here, whose quote is open
        line = self._again.pop() if self._again else next(self.lines)
        self._read += 1
        self._size += len(line)
        self.row.append(line)
        return "\n" if text_files.is_too_long(line) else line

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self.row = []
        self.first = self._read + 1
        self._size = 0

    def take_back(self) -> None:
        """Let the row be its first line, and the others be read again."""
        self._again.extend(reversed(self.row[1:]))
        self._read -= len(self.row) - 1
        del self.row[1:]
