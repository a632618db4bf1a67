"""Bad rows that imports keep to be mended, looked through for people."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from millrace.settings import Settings

UNSEARCHABLE = {".parquet"}
"""What is packed can't be looked through by line; it may name anybody."""


def naming(settings: Settings, names: Collection[str]) -> list[Path]:
    """Return the files of bad rows that name somebody, or can't be looked through."""
    said = "|".join(map(re.escape, names))
    pattern = re.compile(rf"(?<![\w-])(?:{said})(?![\w-])".encode())

    def may_name(path: Path) -> bool:
        if path.suffix in UNSEARCHABLE:
            return True
        with path.open("rb") as lines:
            return any(pattern.search(line) for line in lines)

    return [path for path in sorted((settings.home / "imports").glob("*.*")) if may_name(path)]
