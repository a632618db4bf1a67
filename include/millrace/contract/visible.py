"""Text from outside as a terminal may get it: it shows what is there, and obeys none of it."""

from __future__ import annotations

import re

_OBEYED = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Controls but for tabs and line ends, what turns the direction of writing, and half surrogates."""


def visible(text: str) -> str:
    r"""Return text with an escape (``\x1b``) in place of each character that a terminal obeys."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
