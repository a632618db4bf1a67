"""What is kept of an answer, and in the process the few that are asked for most."""

from __future__ import annotations

import math
import random
import struct
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from millrace.api.query.cache import metrics

PROCESS_BYTES = 64 << 20
"""How much the answers of a process take at most."""
OVERHEAD_BYTES = 500
"""What keeping an answer takes besides its bytes."""
CLOCK_SECONDS = 5.0
"""An answer from further in the future than this is from a clock that was set back."""
MOST_DIGESTS = 50_000
"""Keys whose short forms a process remembers: the same ones are asked for with every request."""
_HEADER = struct.Struct(">16sddH")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer, and from when it is.

    Moments are by ClickHouse's clock, in seconds since 1970.

    Args:
        value: The answer; empty: there is none.
        generation: What was known of the content of its tables before it was computed.
        as_of: The moment before it was computed; everything until then is in it.
        expires: When it is recomputed although nothing has changed.
        cost: Seconds that computing it took.
    """

    value: bytes
    generation: str
    as_of: float
    expires: float
    cost: float

    def holds(self, generation: str, since: float, now: float) -> bool:
        """Tell whether it is what would be computed now.

        That is so if its tables are in the state in which they were, or are since before it was
        computed (``since``) as they are now.
        """
        return self.as_of - CLOCK_SECONDS <= now < self.expires and (
            self.generation == generation or self.as_of >= since
        )

    def is_due(self, now: float) -> bool:
        """Tell, by lot, whether to recompute it before it expires: the nearer the likelier.

        Of many who ask, one or two are told so (XFetch: Vattani and others, VLDB 2015).
        """
        return now - self.cost * math.log(1.0 - random.random()) >= self.expires  # noqa: S311

    def packed(self) -> bytes:
        """Return it as Redis has it; the first 16 bytes are ``as_of`` in milliseconds."""
        name = self.generation.encode()
        moment = f"{int(self.as_of * 1000):016d}".encode()
        return _HEADER.pack(moment, self.expires, self.cost, len(name)) + name + self.value

    @classmethod
    def unpacked(cls, content: bytes) -> Entry:
        """Return what was packed; raises ``struct.error`` or ``ValueError`` where it was not."""
        moment, expires, cost, length = _HEADER.unpack_from(content)
        start = _HEADER.size + length
        name = content[_HEADER.size : start].decode()
        return cls(content[start:], name, int(moment) / 1000, expires, cost)


@lru_cache(MOST_DIGESTS)
def digest(key: str) -> str:
    """Return the short form of a question's key, as the cache's own keys have it."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


class ProcessCache:
    """Answers in the process: a bounded number of bytes, least recently used first to go."""

    def __init__(self, most_bytes: int = PROCESS_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def get(self, key: str) -> Entry | None:
        """Return what is kept of a question, whether it holds or not."""
        entry = self._entries.get(key)
        if entry:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry, now: float) -> None:
        """Keep an answer, unless what is there is from later."""
        held = self._entries.get(key)
        if held and entry.as_of < held.as_of <= now + CLOCK_SECONDS:
            return
        self.drop(key)
        size = _size(key, entry)
        if size <= self._most // 8:
            self._entries[key] = entry
            self._bytes += size
        while self._bytes > self._most:
            self.drop(next(iter(self._entries)))
        metrics.PROCESS_BYTES.set(self._bytes)

    def drop(self, key: str) -> None:
        """Forget an answer."""
        entry = self._entries.pop(key, None)
        if entry:
            self._bytes -= _size(key, entry)


def _size(key: str, entry: Entry) -> int:
    return len(key) + len(entry.value) + OVERHEAD_BYTES
