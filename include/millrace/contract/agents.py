"""What user agents tell: the kind of a device, its system, its browser.

Tokens that browsers' makers document, first match wins; the order is the one that they call for
(every Chrome says Safari too, every Edge says Chrome). Patterns are such that RE2, in the gate, and
``re``, in the ingestion API, find the same. Why not a list of thousands of models:
docs/decisions/0030-user-agents.md.
"""

from __future__ import annotations

import re
from functools import lru_cache

Tokens = tuple[tuple[str, str], ...]

BROWSERS: Tokens = (
    ("edge", "Edg"),
    ("opera", "OPR/|Opera"),
    ("samsung", "SamsungBrowser"),
    ("firefox", "Firefox|FxiOS"),
    ("chrome", "Chrome|CriOS"),
    ("safari", "Safari"),
)
SYSTEMS: Tokens = (
    ("ios", "iPhone|iPad|iPod"),
    ("android", "Android"),
    ("windows", "Windows"),
    ("macos", "Mac OS X|Macintosh"),
    ("chromeos", "CrOS"),
    ("linux", "Linux"),
)
DEVICES: Tokens = (
    # A word's end, since names begin with it as well; not Cubot's, who makes phones.
    (
        "bot",
        "(?i)(?:^|[^u]|(?:^|[^c])u)bots?(?:[^a-z]|$)|crawl|spider|slurp|headless|preview"
        "|facebookexternalhit",
    ),
    (
        "tv",
        r"(?i)smart-?tv|appletv|googletv|androidtv|hbbtv|\bcrkey\b|\broku|\bbravia\b"
        r"|\baft[a-z]+ build",
    ),
    ("tablet", "(?i)ipad|kindle|silk/|playbook|tablet(?:[^ ]|$| [^p])"),  # Tablet PC is Windows
    ("mobile", "(?i)mobi|iphone|ipod|windows phone|opera mini"),
    ("tv", r"(?i)\btv\b|\baft[a-z]+\b"),
    ("tablet", "^Mozilla/.*Android"),  # a browser on a phone says Mobile
    ("mobile", "Android"),  # an application
    ("desktop", "^(?:Mozilla|Opera)/|Windows|Macintosh|X11|CrOS"),
)
"""Kinds of devices; a server's library is none."""


@lru_cache(maxsize=4096)
def device(agent: str) -> str:
    """Return the kind of device that a user agent is of; empty for a server's."""
    return next((kind for kind, pattern in DEVICES if re.search(pattern, agent)), "")
