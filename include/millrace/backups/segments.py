"""Files of PostgreSQL's write-ahead log, in a spool folder and in the bucket."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

from minio import Minio

from millrace.backups import gateway
from millrace.backups.gateway import METADATA

FOLDER = "wal"
SIZE = 16 << 20
"""The bytes of a file of the log: PostgreSQL's own, which one changes with ``initdb`` alone."""
SIZE_SHOWN = "16MB"
"""The same, as ``SHOW wal_segment_size`` says it."""
_NAME = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")


def send(objects: Minio, path: Path, name: str = "") -> None:
    """Bring a file into the bucket, compressed; raises ``FileNotFoundError`` where it is gone."""
    data = gzip.compress(path.read_bytes(), 1)
    key = f"{FOLDER}/{name or path.name}.gz"
    objects.put_object(METADATA, key, io.BytesIO(data), len(data), part_size=gateway.IN_ONE_PIECE)


def is_finished(path: Path) -> bool:
    """Whether nothing will be written to a file any more."""
    return _NAME.fullmatch(path.name) is not None


def is_log(path: Path) -> bool:
    """Whether a file is one of the log, or of its timelines, and not one that is only begun."""
    if path.suffix == ".partial" and not is_ready(path):
        return False
    return _NAME.fullmatch(path.name.removesuffix(".partial")) is not None


def is_segment(path: Path) -> bool:
    """Whether a file is one of the log itself."""
    return is_log(path) and path.suffix != ".history"


def is_ready(unfinished: Path) -> bool:
    """Whether the receiver has filled a new file with zeros, as it does before it writes to it."""
    try:
        return unfinished.stat().st_size == SIZE
    except FileNotFoundError:  # it is finished, and has another name
        return False


def number(segment: str) -> int:
    """Return which file of the log one is, whatever its timeline."""
    return (int(segment[8:16], 16) << 32) // SIZE + int(segment[16:24], 16)


def position(byte: int) -> str:
    """Return a position in the log as PostgreSQL writes it."""
    return f"{byte >> 32:X}/{byte & 0xFFFFFFFF:X}"
