"""Bodies as SDKs send them: packed, in forms, mislabelled. They are read by what they are."""

from __future__ import annotations

import base64
import binascii
import codecs
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import msgspec
from backports import zstd

from millrace.api.http import ProblemError, Request, parse, parse_form
from millrace.api.ingestion.batches import MOST_BYTES, MOST_EVENTS, check_count

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

KEY_PARAMETERS = (
    *("writeKey", "write_key", "writekey", "api_key", "apiKey", "apikey", "token", "key"),
)
"""Parameters of a query that hold a key: beacons and pixels can't send a header."""

_UNPACKED = frozenset({"", "identity", "none", "utf-8", "utf8"})
"""What is named as an encoding and packs nothing: some call the charset one."""

LAYERS = 4
"""How often a body may be packed: once by the SDK and once by a proxy is what is seen."""

MEMBERS = 64
"""How many packed streams a body may be made of, one after another."""

_WINDOW: dict[int, int] = {
    zstd.DecompressionParameter.window_log_max: 25
}  # 32 MiB; a sender may ask for 128

_CHARSET = re.compile(
    r"""charset\s*=\s*["']?\s*("""
    r"iso[-_]8859-\d{1,2}|latin-?[1-9]|us-ascii|ascii|windows-\d{3,4}|cp125\d|koi8-[ru]"
    r"|shift_jis|euc-jp|euc-kr|gbk|gb2312|gb18030|big5)\b",
    re.IGNORECASE,
)
_AS_BROWSERS_READ = frozenset({"iso8859-1", "ascii"})
"""What is labelled so is windows-1252 (https://encoding.spec.whatwg.org)."""

_FORM = re.compile(rb"[A-Za-z0-9_.$-]+=")
_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]',  # a text that never ends is one, too
    re.DOTALL,
)
_MOST_TOKENS = 1_000_000

MANY = 100_000
"""An array with more commas is not taken apart before its elements are counted."""

_LINE = re.compile(rb"\S[^\n]*")
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_first: Callable[[bytes], Any] = msgspec.json.Decoder(
    # What is behind its fields is passed over, and takes no memory.
    msgspec.defstruct(
        "First",
        [
            *((f"element_{number}", msgspec.Raw, None) for number in range(MOST_EVENTS)),
            ("last", msgspec.Raw, None),
        ],
        array_like=True,
    )
).decode


def unpack(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return what the sender packed, by the header and by the first bytes.

    Browsers' SDKs send gzip without saying so, and proxies unpack and leave the header there: what
    is called gzip, zstd or deflate and is none is taken as it is. No more than ``limit`` bytes are
    ever made. Raises ``ProblemError``: 413 beyond the limit, 415 for an encoding that nobody reads
    here, 400 for a body that is cut off or damaged.
    """
    names = [name.strip() for name in content_encoding.lower().split(",")]
    names = [name for name in names if name not in _UNPACKED]
    if len(names) > LAYERS:
        raise ProblemError(400, "malformed_encoding", f"The body is packed {len(names)} times")
    for name in reversed(names):
        body = _by_name(body, name, limit)
    for _ in range(LAYERS):
        if body[:2] == GZIP:
            body = _gunzip(body, limit)
        elif body[:4] == ZSTD:
            body = _unzstd(body, limit)
        else:
            break
    if len(body) > limit:
        raise _too_large(limit)
    return body


def as_utf8(body: bytes, content_type: str, limit: int) -> bytes:
    """Return a text in UTF-8 without a byte order mark, whatever it came in.

    UTF-16 and UTF-32 are told by their first bytes, as JSON's are; another charset counts where the
    Content-Type names it and the text is no UTF-8. Raises ``ProblemError`` (413).
    """
    encoding = json.detect_encoding(body[:4])
    if encoding == "utf-8-sig":
        return body.removeprefix(codecs.BOM_UTF8)
    if encoding == "utf-8":
        body = body.rstrip(b"\0")  # which ends a text in C
        named = _CHARSET.search(content_type)
        if named is None or _is_utf8(body):
            return body
        try:
            encoding = codecs.lookup(named[1]).name
        except LookupError:
            return body
        if encoding in _AS_BROWSERS_READ:
            encoding = "cp1252"
    text = body.decode(encoding, "replace").encode()
    if len(text) > limit:
        raise _too_large(limit)
    return text


def _is_utf8(body: bytes) -> bool:
    try:
        body.isascii() or body.decode()
    except UnicodeDecodeError:
        return False
    return True


def form_data(body: bytes | str) -> dict[str, str]:
    """Return the fields of a form, as ``parse_form`` does; bytes are UTF-8."""
    return parse_form(body.decode("utf-8", "replace") if isinstance(body, bytes) else body)


def is_form(body: bytes) -> bool:
    """Say whether a body is a form, whatever its Content-Type calls it."""
    return _FORM.match(body) is not None


def decode_data(text: str, limit: int) -> Any:
    """Return the document in a form's ``data``: JSON, or JSON in base64, which may be gzipped.

    Raises ``ProblemError`` (400, 413).
    """
    stripped = text.strip()
    if stripped[:1] in {"{", "["}:
        return parse(stripped)
    # A plus sign that was not escaped has become a space; lines may have been broken.
    compact = re.sub(r"[\t\r\n]", "", re.sub("[- ]", "+", text).replace("_", "/")).rstrip("=")
    try:
        packed = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ProblemError(
            400, "malformed_json", "`data` is neither JSON nor JSON in base64"
        ) from None
    return parse(unpack(packed, "", limit))


def document(request: Request, limit: int = MOST_BYTES) -> Any:
    """Return the document that a request brings: its body as JSON, or the ``data`` of a form.

    The form is in the body or, in a GET, in the query. ``limit`` bounds what is unpacked from it.
    Raises ``ProblemError`` (400, 413).
    """
    fields: dict[str, str] | None = None
    if is_form(request.body):
        fields = form_data(request.body)
    elif not request.body:
        fields = request.query
    if fields and "data" in fields:
        return decode_data(fields["data"], limit)
    return request.document


def pixel(request: Request) -> dict[str, str]:
    """Return the event that an image's query is, without the key that the query may hold."""
    return {name: text for name, text in request.query.items() if name not in KEY_PARAMETERS}


def lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines of NDJSON that are not blank, one by one: there may be millions.

    Without the byte order marks of the files that they were put together from.
    """
    found = (match[0].rstrip().removeprefix(codecs.BOM_UTF8) for match in _LINE.finditer(body))
    return filter(None, found)


def documents(body: bytes) -> list[Any]:
    """Return the documents of NDJSON; a line that can't be read as the text it is.

    Raises ``ProblemError`` (413) for more than a request may have.
    """
    found: list[Any] = []
    for line in few(lines(body)):
        try:
            found.append(parse(line))
        except ProblemError:
            found.append(line.decode("utf-8", "replace"))
    return found


def few(sent: Iterator[bytes]) -> list[bytes]:
    """Return events, unless there are too many. Raises ``ProblemError`` (413)."""
    found = list(itertools.islice(sent, MOST_EVENTS + 1))
    check_count(len(found))
    return found


def elements(body: bytes) -> list[bytes]:
    """Return the elements of a JSON array as the bytes they are.

    Raises ``ProblemError``: 413 for more than a request may have, 400 where it does not close.
    """
    try:
        if body.count(b",") > MANY and _first(body).last is not None:
            check_count(MOST_EVENTS + 1)
        return list(map(bytes, _elements(body)))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return split(body)


def split(body: bytes) -> list[bytes]:
    """Return the elements of a JSON array as the bytes they are, whatever is wrong within them.

    For an array that can't be read as a whole: the element that spoils it is passed on like the
    others, to be rejected alone. Raises ``ProblemError`` (400) if brackets don't close.
    """
    text = body.decode("latin-1").strip()
    elements: list[bytes] = []
    depth, start = 0, 1
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number == _MOST_TOKENS:
            raise ProblemError(400, "malformed_json", "The body is no JSON, and too long to split")
        mark = token[0]
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        if (mark == "," and depth == 1) or depth == 0:
            check_count(len(elements))
            elements.append(text[start : token.start()].strip().encode("latin-1"))
            start = token.end()
            if depth == 0 or mark != ",":
                break
    if not text.startswith("[") or depth != 0 or text[start:].strip():
        raise ProblemError(400, "malformed_json", "The body is no JSON array: it does not close")
    return [] if elements == [b""] else elements


def _by_name(body: bytes, name: str, limit: int) -> bytes:
    match name:
        case "gzip" | "x-gzip":
            return _gunzip(body, limit) if body[:2] == GZIP else body
        case "deflate":
            return _inflate(body, limit)
        case "zstd":
            return _unzstd(body, limit) if body[:4] == ZSTD else body
        case "br":
            return _unbrotli(body, limit)
    raise ProblemError(
        415, "unsupported_encoding", f"Content-Encoding {name}: send gzip, deflate, zstd or br"
    )


def _gunzip(body: bytes, limit: int) -> bytes:
    return _members(body, limit, lambda: zlib.decompressobj(wbits=31), "gzip")


def _unzstd(body: bytes, limit: int) -> bytes:
    return _members(body, limit, lambda: zstd.ZstdDecompressor(options=_WINDOW), "zstd")


def _inflate(body: bytes, limit: int) -> bytes:
    """Unpack deflate: with zlib's header, as the standard has it, or bare, as some send it."""
    if body.lstrip()[:1] in {b"{", b"["}:
        return body
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _members(
        body, limit, lambda: zlib.decompressobj(wbits=15 if has_header else -15), "deflate"
    )


def _members(body: bytes, limit: int, new: Callable[[], Any], name: str) -> bytes:
    """Unpack one packed stream after another, never to more than the limit."""
    parts: list[bytes] = []
    left = limit
    try:
        while body:
            if len(parts) == MEMBERS:
                raise _damaged(name, f"it is made of more than {MEMBERS} parts")
            unpacker = new()
            part = unpacker.decompress(body, left + 1)
            left -= len(part)
            if left < 0:
                raise _too_large(limit)
            if not unpacker.eof:
                raise _damaged(name, "it is cut off")
            parts.append(part)
            body = unpacker.unused_data.lstrip(b"\0\r\n")  # what fills blocks, or ends a text
    except (zlib.error, zstd.ZstdError, EOFError) as error:
        raise _damaged(name, str(error)) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unbrotli(body: bytes, limit: int) -> bytes:
    if body.lstrip()[:1] in {b"{", b"["}:
        return body
    unpacker = brotli.Decompressor()
    try:
        part = unpacker.process(body, output_buffer_limit=limit + 1)
        if len(part) > limit:
            raise _too_large(limit)
        if not unpacker.is_finished():
            raise _damaged("br", "it is cut off")
    except brotli.error as error:
        raise _damaged("br", str(error)) from None
    return bytes(part)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        413, "body_too_large", f"The body has more than {limit} bytes unpacked: send smaller ones"
    )


def _damaged(name: str, why: str) -> ProblemError:
    return ProblemError(400, "malformed_encoding", f"The body can't be unpacked as {name}: {why}")
