"""Rows of a file, one after another, whatever its size: NDJSON, CSV or Parquet."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

FORMATS = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Record:
    """A row as it was read, or why it could not be read.

    ``number`` counts rows from 1, good and bad; ``line`` is where a person finds it in the file
    (in Parquet, which has no lines, the row's number).
    """

    number: int
    line: int
    row: dict[str, Any]
    problem: str = ""


def format_of(path: Path) -> str:
    """Return the format that a file's name tells. Raises ``ValueError`` for an unknown one."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    found = FORMATS.get(suffixes[-1].lower()) if suffixes else None
    if found is None:
        raise ValueError(
            f"can't tell the format of {path.name}; name it .ndjson, .csv, .tsv (each also .gz) "
            "or .parquet"
        )
    return found


def digest(path: Path) -> bytes:
    """Return the identity of a file: a digest of all its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()


def columns(path: Path) -> list[str]:
    """Return the names of a file's columns (of the first row, in NDJSON)."""
    if format_of(path) == "parquet":
        import pyarrow.parquet

        names: list[str] = pyarrow.parquet.read_schema(path).names
        return names
    for record in records(path):
        if not record.problem:
            return list(record.row)
    return []


def row_count(path: Path) -> int | None:
    """Return how many rows there are, where the file says so itself."""
    if format_of(path) != "parquet":
        return None
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def records(path: Path) -> Iterator[Record]:
    """Yield every row in order. Raises ``OSError`` when the file can't be read."""
    kind = format_of(path)
    if kind == "parquet":
        yield from _parquet(path)
        return
    with _open(path) as file:
        yield from (_ndjson(file) if kind == "ndjson" else _csv(file, path))


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _ndjson(file: IO[bytes]) -> Iterator[Record]:
    number = 0
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        number += 1
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            yield Record(number, line, {}, f"is not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield Record(number, line, row)
        else:
            yield Record(number, line, {}, "is no JSON object")


def _csv(file: IO[bytes], path: Path) -> Iterator[Record]:
    is_tab_separated = ".tsv" in path.suffixes
    # Bytes that are no UTF-8 survive as surrogates and are told apart below, row by row.
    text = (line.decode("utf-8-sig" if n == 0 else "utf-8", "surrogateescape")
            for n, line in enumerate(file))  # fmt: skip
    reader = csv.reader(text, delimiter="\t" if is_tab_separated else ",")
    header: list[str] | None = None
    number = 0
    while True:
        before = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield Record(number, before + 1, {}, f"is no CSV: {error}")
            continue
        if not cells:
            continue
        if header is None:
            header = cells
            continue
        number += 1
        if len(cells) != len(header):
            problem = f"has {len(cells)} columns, the header has {len(header)}"
            yield Record(number, before + 1, {}, problem)
            continue
        if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
            yield Record(number, before + 1, {}, "is not UTF-8")
            continue
        yield Record(number, before + 1, dict(zip(header, cells, strict=True)))


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow.parquet

    number = 0
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS):
        for row in batch.to_pylist():
            number += 1
            yield Record(number, number, row)
