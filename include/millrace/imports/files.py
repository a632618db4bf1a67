"""Which reader a file takes, and what tells it from every other file."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from millrace.imports import json_files
from millrace.imports.delimited import Delimited
from millrace.imports.parquet import Parquet
from millrace.imports.records import FileError, Rows

FORMATS = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip

_PACKED = (".gz", ".gzip")
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")


@dataclass(frozen=True)
class Reading:
    """How a file of text is to be read, where it does not tell by itself."""

    delimiter: str = ""
    encoding: str = ""
    is_quoted: bool = True

    def as_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return asdict(self)


def format_of(path: Path) -> str:
    """Return the format that a file's name tells. Raises ``FileError`` for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
    last = suffixes[-1] if suffixes else ""
    if last in _SHEETS:
        raise FileError(
            "a workbook holds sheets, formulas and formats, not rows; save the sheet as "
            "“CSV UTF-8” and import that"
        )
    if last not in FORMATS:
        raise FileError(
            f"can't tell the format of {path.name}; name it .ndjson, .json, .csv, .tsv (each also "
            ".gz) or .parquet"
        )
    return FORMATS[last]


def digest(path: Path) -> bytes:
    """Return the identity of a file: a digest of all its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()


def rows(path: Path, reading: Reading | None = None) -> Rows:
    """Return the rows of a file.

    Raises ``FileError`` where it can't be read as what its name says, or not surely as it was
    meant, and ``OSError`` where it can't be read at all.
    """
    how = reading or Reading()
    kind = format_of(path)
    if not path.is_file():
        path.stat()  # raises FileNotFoundError
        raise FileError("it is no regular file, and would have to be read twice")
    if kind == "parquet":
        return Parquet(path)
    if kind == "csv":
        return Delimited(
            path, delimiter=how.delimiter, encoding=how.encoding, is_quoted=how.is_quoted
        )
    if kind == "json" and json_files.is_array(path, how.encoding):
        return json_files.JsonArray(path, how.encoding)
    return json_files.JsonLines(path, how.encoding)
