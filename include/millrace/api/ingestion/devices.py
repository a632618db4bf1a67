"""The kind of a device, of what senders say of it; and the page, of an address."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from millrace.contract import agents

KINDS = frozenset({"mobile", "tablet", "desktop", "tv", "bot"})
"""What the contract's ``device`` may be."""

LONGEST_KNOWN = 1_000
"""Characters of an address whose path is remembered."""

_ALSO_CALLED = {
    "android": "mobile",
    "console": "tv",
    "ios": "mobile",
    "ipad": "tablet",
    "ipados": "tablet",
    "iphone": "mobile",
    "laptop": "desktop",
    "mac": "desktop",
    "mob": "mobile",
    "pc": "desktop",
    "phone": "mobile",
    "robot": "bot",
    "smart tv": "tv",
    "smartphone": "mobile",
    "smarttv": "tv",
    "crawler": "bot",
}
_COUNTRY = re.compile(r"[A-Za-z]{2}")


def kind(name: Any) -> str:
    """Return the contract's word for a kind of device as a sender calls it; empty if none."""
    if not isinstance(name, str):
        return ""
    word = name.strip().lower()
    return word if word in KINDS else _ALSO_CALLED.get(word, "")


def kind_by_agent(agent: str) -> str:
    """Return the kind of device that a user agent is of; empty for a server's."""
    return agents.device(agent[:1024])


def path(address: str) -> str:
    """Return the path of an address, which the contract calls the page; the text if it is none."""
    return _known_path(address) if len(address) <= LONGEST_KNOWN else _path(address)


def _path(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    return parts.path or ("/" if parts.netloc else address)


_known_path = lru_cache(maxsize=4096)(_path)


def country(code: Any) -> str:
    """Return a country's code of two capital letters; empty for anything else, a name, say."""
    return code.upper() if isinstance(code, str) and _COUNTRY.fullmatch(code) else ""
