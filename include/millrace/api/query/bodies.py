"""Whole answers as they were last sent: what is asked again, and has not changed, is sent again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

MOST_BYTES = 64 << 20
"""Bytes of answers, and of what was asked, that a process keeps."""
AGAIN = {"x-cache": "process"}
"""What differs in the headers of an answer that is sent again."""
_FROM = b'"rows_read":'


Headers = list[tuple[bytes, bytes]]
"""Headers as ASGI has them."""


@dataclass(frozen=True)
class Body:
    """An answer as it is sent, and the state of the numbers that it was made in."""

    state: str
    content: bytes
    headers: dict[str, str]

    @cached_property
    def headers_again(self) -> Headers:
        """The headers of an answer that is sent again."""
        return raw(self.headers | AGAIN)

    def again(self, began: float) -> bytes:
        """Return the content of an answer that is sent again: it cost nothing now."""
        if not self.headers["content-type"].startswith("application/json"):
            return self.content
        kept = self.content[: self.content.rindex(_FROM)]
        elapsed = (time.perf_counter() - began) * 1000
        return kept + b'"rows_read":0,"cache":"process","elapsed_ms":%.3f}}' % elapsed


class Bodies:
    """The answers of a process, by what was asked; the longest unused go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Body] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, ...], state: str) -> Body | None:
        """Return the answer, unless the numbers have changed since."""
        body = self._kept.get(key)
        if body is None or body.state != state:
            return None
        self._kept.move_to_end(key)
        return body

    def put(self, key: tuple[str, ...], body: Body) -> None:
        """Keep an answer in place of an older one."""
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _size(key, old)
        self._kept[key] = body
        self._bytes += _size(key, body)
        while self._bytes > MOST_BYTES:
            self._bytes -= _size(*self._kept.popitem(last=False))


def raw(headers: Mapping[str, str]) -> Headers:
    """Return headers as ASGI has them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _size(key: tuple[str, ...], body: Body) -> int:
    return len(body.content) + sum(map(len, key))
