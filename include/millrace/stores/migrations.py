"""Migrations are append-only: an applied file is recorded with its hash, an edited one refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


class EditedMigrationError(RuntimeError):
    """A migration was changed after it had been applied: old and new stacks would differ."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{'/'.join(path.parts[-5:])} was edited after it was applied here. Put it back as it "
            "was (git log shows when it changed); a new file takes the change."
        )


def check(folder: Path, applied: Mapping[str, str]) -> dict[str, str]:
    """Return the hash of every migration in ``folder`` by its name, in order.

    ``applied`` are the hashes recorded where the migrations are applied, empty for one that was
    applied before hashes were kept. Raises ``EditedMigrationError`` where a file has another.
    """
    found = {}
    for path in sorted(folder.glob("*.sql")):
        found[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        if applied.get(path.stem, "") not in ("", found[path.stem]):
            raise EditedMigrationError(path)
    return found
