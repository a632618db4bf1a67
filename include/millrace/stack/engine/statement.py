"""What kind of statement a request holds, found by one linear scan over its tokens.

The engine parses SQL; this scan only finds what an HTTP server must know before it hands a
statement over: where the inline data of an INSERT begins, which output format is asked for, and
whether the server's own files are touched. The token pattern is possessive throughout, so its
cost is linear whatever the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from millrace.stack.engine.errors import EngineError

_TOKEN = re.compile(
    rb"""
      (?P<space>\s++|--[^\n]*+|\#[!\ ][^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z))
    | (?P<string>'(?:[^'\\]++|\\.|'')*+(?:'|\Z))
    | (?P<quoted>"(?:[^"\\]++|\\.|"")*+(?:"|\Z)|`(?:[^`\\]++|\\.|``)*+(?:`|\Z))
    | (?P<heredoc>\$\w*+\$)
    | (?P<word>[A-Za-z_]\w*+)
    | (?P<number>\d\w*+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN, _CLOSE = b"([{", b")]}"

REMEMBERED_BYTES = 1 << 16
STATEMENTS_REMEMBERED = 256
"""How long a statement, and how many of them, what was found out about it is kept for."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is neither space nor comment, with its nesting depth in brackets."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        """Tell whether this is one of the given unquoted upper-case words."""
        return self.kind == "word" and self.text.upper() in words


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the server must treat it.

    ``sql`` is what the engine gets. For an INSERT with inline data ``sql`` ends before the data,
    ``data_format`` names the data's format and ``data_start`` is the data's offset in the scanned
    text. ``format`` is the output format that the statement asks for, if any, and
    ``format_start`` the offset of that clause (or of the end).
    """

    sql: bytes
    verb: str
    format: str | None = None
    format_start: int = 0
    data_format: str | None = None
    data_start: int = 0


def tokens(text: bytes) -> Iterator[Token]:
    """Yield the tokens of ``text``, without spaces and comments."""
    position, depth = 0, 0
    while match := _TOKEN.match(text, position):
        position, kind = match.end(), match.lastgroup or "other"
        if kind == "space":
            continue
        piece = match.group()
        if kind == "heredoc":
            end = text.find(piece, position)
            position = len(text) if end < 0 else end + len(piece)
            piece, kind = text[match.start() : position], "string"
        if kind == "other" and piece in _CLOSE:
            depth = max(0, depth - 1)
        yield Token(kind, piece, match.start(), position, depth)
        if kind == "other" and piece in _OPEN:
            depth += 1


def scan(text: bytes, *, complete: bool) -> Statement | None:
    """Read the statement at the start of ``text``.

    ``complete`` says whether ``text`` is all there is; if not, and more is needed to tell, None is
    returned. Raises ``EngineError`` for statements that name files of the server. What is not long
    is remembered, since clients repeat their statements.
    """
    return (_scan_known if len(text) <= REMEMBERED_BYTES else _scan)(text, complete)


def _scan(text: bytes, complete: bool) -> Statement | None:
    stream = tokens(text)
    first = next(stream, None)
    if first is None:
        if complete:
            raise EngineError.named("SYNTAX_ERROR", "Empty query.")
        return None
    if first.is_word(b"INSERT"):
        return _insert(text, stream, complete=complete)
    return _other(text, first, stream) if complete else None


_scan_known = lru_cache(STATEMENTS_REMEMBERED)(_scan)


def _insert(text: bytes, stream: Iterator[Token], *, complete: bool) -> Statement | None:
    previous: Token | None = None
    selects = False
    for seen, token in enumerate(stream, 1):
        # The third token on is past INTO and the table's name or TABLE and FUNCTION.
        begins = token.depth == 0 and seen > 2 and not selects
        begins = begins and previous is not None and previous.text != b"."
        if begins and token.is_word(b"VALUES"):
            return Statement(
                text[: token.start], "INSERT", data_format="Values", data_start=token.end
            )
        if begins and token.is_word(b"FORMAT"):
            name = next(stream, None)
            if name is None or (name.end == len(text) and not complete):
                return None if not complete else Statement(text, "INSERT")
            return Statement(
                text[: token.start],
                "INSERT",
                data_format=name.text.decode(errors="replace"),
                data_start=_skip_to_data(text, name.end),
            )
        if token.is_word(b"INFILE") and previous is not None and previous.is_word(b"FROM"):
            raise _files_refused("FROM INFILE")
        if selects and token.text == b"(" and previous and previous.is_word(b"INPUT"):
            raise EngineError.named(
                "NOT_IMPLEMENTED",
                "The table function input() is not offered by the embedded engine; insert into a "
                "temporary table of a session and select from it.",
            )
        selects = selects or (begins and token.is_word(b"SELECT", b"WITH", b"WATCH"))
        previous = token
    return Statement(text, "INSERT") if complete else None


def _skip_to_data(text: bytes, position: int) -> int:
    """Skip what ClickHouse skips between a format's name and the data: blanks and one newline."""
    while text[position : position + 1] in (b" ", b"\t", b"\f"):
        position += 1
    if text[position : position + 1] == b"\r":
        position += 1
    if text[position : position + 1] == b"\n":
        position += 1
    return position


def _other(text: bytes, first: Token, stream: Iterator[Token]) -> Statement:
    found = [token for token in stream if token.depth == 0]
    end = first.end
    for index, token in enumerate(found):
        if token.text != b";":
            end = token.end
        if token.is_word(b"OUTFILE") and index and found[index - 1].is_word(b"INTO"):
            raise _files_refused("INTO OUTFILE")
    verb = first.text.upper().decode(errors="replace")
    sql = text[:end]
    for index in range(len(found) - 1, 0, -1):
        name = found[index]
        after = found[index + 1] if index + 1 < len(found) else None
        if (
            name.kind in ("word", "quoted")
            and found[index - 1].is_word(b"FORMAT")
            and (after is None or after.text == b";" or after.is_word(b"SETTINGS"))
            and not (index > 1 and found[index - 2].text == b".")
        ):
            return Statement(
                sql, verb, name.text.strip(b'`"').decode(errors="replace"), found[index - 1].start
            )
    return Statement(sql, verb, None, end)


def _files_refused(clause: str) -> EngineError:
    return EngineError.named(
        "NOT_IMPLEMENTED",
        f"{clause} names a file of the server and is refused over HTTP; "
        "send or receive the data in the body.",
    )
