"""Content encodings of request and response bodies, streamed and bounded in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from millrace.stack.engine.errors import EngineError

PIECE = 1 << 20
"""Decoded bytes handed over at a time, so that a small body can't unpack into all memory."""

_DECODERS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}
_WINDOWS = {"gzip": 31, "deflate": 15}
_PREFERENCE = ("lz4", "zstd", "gzip", "deflate")


class Decoder:
    """Decodes a body that arrives in chunks. Raises ``EngineError`` on broken data."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        if encoding not in _DECODERS and encoding not in _WINDOWS:
            raise EngineError.named(
                "BAD_ARGUMENTS",
                f"Content-Encoding {encoding!r} is unknown; use one of {', '.join(_PREFERENCE)}.",
            )
        self._stream = self._fresh()
        self._started = False

    def _fresh(self) -> Any:
        window = _WINDOWS.get(self._encoding)
        return zlib.decompressobj(window) if window else _DECODERS[self._encoding]()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` decodes to, in pieces of at most ``PIECE`` bytes."""
        try:
            while True:
                if self._stream.eof:  # concatenated members or frames are legal
                    data = self._stream.unused_data or data
                    if not data:
                        return
                    self._stream, self._started = self._fresh(), False
                if data:
                    self._started = True
                piece = self._stream.decompress(data, PIECE)
                data = getattr(self._stream, "unconsumed_tail", b"")
                if piece:
                    yield piece
                pending = self._stream.eof and self._stream.unused_data
                hungry = getattr(self._stream, "needs_input", len(piece) < PIECE and not data)
                if not pending and (self._stream.eof or hungry):
                    return
                data = data or b""
        except (zlib.error, RuntimeError, zstd.ZstdError, EOFError, ValueError) as error:
            raise EngineError.named(
                "CANNOT_DECOMPRESS", f"The body is not valid {self._encoding}: {error}."
            ) from error

    def finish(self) -> None:
        """Check that the body was whole."""
        if self._started and not self._stream.eof:
            raise EngineError.named(
                "CANNOT_DECOMPRESS", f"The body ends inside its {self._encoding} stream."
            )


def negotiate(accept: str) -> str | None:
    """Choose a response encoding from an Accept-Encoding header, or None for none."""
    offered = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return next((name for name in _PREFERENCE if name in offered), None)


class Encoder:
    """Encodes a body that leaves in chunks."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._head = b""
        if encoding == "lz4":
            stream: Any = lz4.frame.LZ4FrameCompressor()
            self._head = stream.begin()
        elif encoding == "zstd":
            stream = zstd.ZstdCompressor(level=1)
        else:
            stream = zlib.compressobj(level=3, wbits=_WINDOWS[encoding])
        self._stream = stream

    def encode(self, data: bytes) -> bytes:
        """Return encoded bytes, possibly none yet."""
        head, self._head = self._head, b""
        return head + bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        """Return the end of the encoded body."""
        head, self._head = self._head, b""
        return head + bytes(self._stream.flush())
