"""JSON: an object a line, or one array of objects. Values keep what they are written with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from millrace.contract import json_text
from millrace.imports import text_files
from millrace.imports.records import FileError, Keeper, Record

MOST_ARRAY_BYTES = 1 << 30
"""An array is held in memory while it is read; a longer one must be made a line an object."""

_SPACE = " \t\r\n\ufeff"


class JsonLines:
    """The rows of a file with a JSON object a line; empty lines are passed over."""

    total: int | None = None
    suffix = ".ndjson"

    def __init__(self, path: Path, encoding: str = "") -> None:
        self.path = path
        self.encoding = text_files.encoding_of(path, encoding)
        self.columns: list[str] = []

    def records(self) -> Iterator[Record]:
        """Yield every row in order. Raises ``FileError``, or ``OSError``."""
        number = 0
        # a carriage return alone ends no line of JSON
        with text_files.opened(self.path, self.encoding, "\n") as file:
            for line, text in enumerate(text_files.lines(file), 1):
                if not text.strip(_SPACE):
                    continue
                number += 1
                yield _record(number, line, text)

    @contextmanager
    def keeping(self, path: Path) -> Iterator[Keeper]:
        """Open another file, recreated, for rows of this one."""
        with text_files.written(path, self.encoding) as file:
            yield _Keeper(file)


class JsonArray(JsonLines):
    """The objects of a file that is one JSON array."""

    def records(self) -> Iterator[Record]:
        """Yield every row in order. Raises ``FileError``, or ``OSError``."""
        with text_files.opened(self.path, self.encoding) as file:
            text = file.read(MOST_ARRAY_BYTES)
            if file.read(1):
                raise FileError(
                    f"it is an array of more than {MOST_ARRAY_BYTES >> 30} GiB; make it one object "
                    f"a line: jq -c '.[]' {self.path.name} > {self.path.stem}.ndjson"
                )
        decoder = json.JSONDecoder(parse_int=str, parse_float=str)
        at, number, line, counted = _skip(text, _skip(text, 0) + 1), 0, 1, 0
        while not text.startswith("]", at):
            line, counted = line + text.count("\n", counted, at), at
            try:
                _, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                raise FileError(
                    f"row {number + 1}, on line {line}, is not JSON: {error}"
                ) from error
            number += 1
            yield _record(number, line, text[at:end])
            at = _skip(text, end)
            if text.startswith(",", at):
                at = _skip(text, at + 1)
            elif not text.startswith("]", at):
                raise FileError(
                    f"after row {number}, which begins on line {line}, the array is cut off"
                )
        if _skip(text, at + 1) < len(text):
            raise FileError("something follows the array")


class _Keeper:
    def __init__(self, file: TextIO) -> None:
        self.file = file

    def add(self, record: Record) -> None:
        if record.source:
            self.file.write(text_files.ended(record.source))


def is_array(path: Path, encoding: str = "") -> bool:
    """Tell whether a file of JSON begins with a bracket."""
    with text_files.opened(path, text_files.encoding_of(path, encoding)) as file:
        while text := file.read(4096):
            if start := text.strip(_SPACE):
                return start.startswith("[")
    return False


def _record(number: int, line: int, text: str) -> Record:
    problem, row = "", dict[str, Any]()
    if text_files.is_too_long(text):
        return Record(number, line, row, text_files.NOT_KEPT)
    if text_files.is_undecoded(text):
        problem = "is not UTF-8 (give the file's encoding with --encoding)"
    else:
        try:
            row = json_text.read(text.strip(_SPACE))
        except RecursionError:
            problem = "is not JSON that can be read: it is nested too deep"
        except ValueError as error:
            problem = f"is not JSON: {error}"
    return Record(number, line, row, problem, text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
