"""Erase a person: from exported files, from the warehouse, from profiles; with a receipt."""

from __future__ import annotations

from typing import Any

from millrace.backups import erasure
from millrace.exports import erasure as exported
from millrace.settings import Settings


def find(settings: Settings, user_id: int) -> dict[str, int]:
    """Count a person's rows by table; changes nothing. Raises ``BackupError`` for no user id."""
    return erasure.find(settings, user_id)


def erase(settings: Settings, user_id: int, requested_by: str, reason: str) -> dict[str, Any]:
    """Erase a person everywhere but in backups, which expire; return the receipt.

    Exported files are rewritten first, since they are made from the tables. Run again after a
    failure, it goes on with what is left. Raises ``BackupError`` if any row is left.
    """
    files = exported.erase(settings, user_id)
    return erasure.erase(settings, user_id, requested_by, reason, files)
