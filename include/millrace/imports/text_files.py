"""Files of text: packed or not, in any encoding, line after line."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

from millrace.imports.records import FileError
from millrace.stores.kafka import LARGEST_MESSAGE_BYTES

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
"""What a file may begin with, and the encoding that it tells; UTF-32's begins with UTF-16's."""

MOST_CHARACTERS = LARGEST_MESSAGE_BYTES
"""A longer line, its end included, is no row: its event would be none that Kafka takes."""

TOO_LONG = f"is longer than {MOST_CHARACTERS >> 20} MiB, the most that a message can be"
NOT_KEPT = f"{TOO_LONG}, and not kept among the bad rows; mend it in the file itself"
"""What is said of a row that holds such a line."""

_PIECE = 1 << 20

UNDECODED = ("\udc80", "\udcff")
"""The first and last character that stand for a byte that is not UTF-8."""


def is_undecoded(text: str) -> bool:
    """Tell whether text holds bytes that are not UTF-8."""
    if text.isascii():
        return False
    first, last = UNDECODED
    return any(first <= character <= last for character in text)


def encoding_of(path: Path, wanted: str = "") -> str:
    """Return the encoding of a file: the wanted one, what its first bytes tell, or UTF-8.

    Raises ``FileError`` for an encoding that Python does not know.
    """
    if wanted:
        try:
            name = codecs.lookup(wanted).name
            "".encode(name)  # base64 and its like are no encodings of text
        except (LookupError, UnicodeError):
            raise FileError(
                f"there is no encoding {wanted!r}; try utf-8, utf-16, latin-1 or cp1252"
            ) from None
        if name != "utf-8":  # which may still begin with a mark
            return name
    with open_bytes(path) as file:
        start = file.read(4)
    marked = (name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark))
    return next(marked, "utf-8")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file; one that is gzip by its first bytes is unpacked, whatever it is called."""
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    return gzip.open(path) if is_packed else path.open("rb")  # type: ignore[return-value]


@contextmanager
def opened(path: Path, encoding: str, newline: str = "") -> Iterator[TextIO]:
    """Open a file as text with the ends of lines as they are; ``newline`` as ``open`` has it.

    In UTF-8, bytes that are none are kept as ``UNDECODED`` characters, row by row; in another
    encoding they raise ``FileError``, and so does a gzip file that is cut off or damaged.
    """
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    with (
        open_bytes(path) as file,
        io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline) as text,
    ):
        try:
            yield text
        except (EOFError, zlib.error) as error:
            raise FileError(
                f"it is cut off or damaged: {error}; nothing after that is known"
            ) from error
        except UnicodeError as error:
            raise FileError(
                f"it is not {encoding}: {error}; give its own with --encoding"
            ) from error


def lines(file: TextIO) -> Iterator[str]:
    """Yield line after line with its end, and of a line that ``is_too_long`` only its beginning.

    So the memory that is taken has a bound, even where a line never ends.
    """
    text = file.readline(MOST_CHARACTERS + 1)
    while text:
        yield text
        last = text
        if is_too_long(text):
            while last and not last.endswith(("\n", "\r")):
                last = file.readline(_PIECE)
        text = file.readline(MOST_CHARACTERS + 1)
        if last.endswith("\r") and text == "\n":  # one end of a line, cut in two
            text = file.readline(MOST_CHARACTERS + 1)


def is_too_long(line: str) -> bool:
    """Tell whether ``lines`` yielded the beginning of a line that is no row."""
    return len(line) > MOST_CHARACTERS


@contextmanager
def written(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a file to write what ``opened`` reads."""
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    with path.open("w", encoding=encoding, errors=errors, newline="") as file:
        yield file


def ended(text: str) -> str:
    """Return a line with its end, which the last of a file may lack."""
    return text if text.endswith(("\n", "\r")) else text + "\n"
