"""Bad rows that imports keep to be mended, looked through for people."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from millrace.settings import Settings

UNSEARCHABLE = {".parquet"}
"""What is packed can't be looked through by line; it may name anybody."""

ENCODINGS = ("utf-8", "cp1252", "latin-1")
"""Those that files keep, and in which a name may be spelt otherwise."""


def naming(settings: Settings, names: Collection[str]) -> list[Path]:
    """Return the files of bad rows that name somebody, or can't be looked through."""
    spelt = {
        re.escape(one)
        for name in names
        for encoding in ENCODINGS
        if (one := name.encode(encoding, "ignore")).decode(encoding) == name
    }
    pattern = re.compile(rb"(?<![\w-])(?:" + b"|".join(sorted(spelt)) + rb")(?![\w-])")

    def may_name(path: Path) -> bool:
        if path.suffix in UNSEARCHABLE:
            return True
        with path.open("rb") as lines:
            # a text with NULs is of an encoding in which nothing would be found
            return any(b"\0" in line or pattern.search(line) for line in lines)

    return [path for path in sorted((settings.home / "imports").glob("*.*")) if may_name(path)]
