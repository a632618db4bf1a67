"""Erase a person: from the warehouse, from PostgreSQL, from exported files; with a receipt."""

from __future__ import annotations

from typing import Any

from millrace.backups import erasure, receipts
from millrace.exports import erasure as exported
from millrace.settings import Settings


def find(settings: Settings, user_id: int) -> dict[str, int]:
    """Count a person's rows by table; changes nothing. Raises ``BackupError`` for no user id."""
    return erasure.find(settings, user_id)


def erase(settings: Settings, user_id: int, requested_by: str, reason: str) -> dict[str, Any]:
    """Erase a person everywhere but in backups, which expire; return the receipt.

    From the moment that the order is committed, nobody writes any more what the person sent before.
    Files come after the tables that they are made from. Run again after a failure, it goes on with
    what is left. Raises ``BackupError`` if any row is left, or the receipt can't be kept beside the
    backups, which a restore needs; ``ExportError`` naming the files that can't be read.
    """
    ordered = erasure.order(settings, user_id, requested_by, reason)
    receipts.keep(settings, [ordered])
    found = erasure.carry_out(settings, [ordered])
    files = exported.erase(settings, [user_id])
    receipt = {
        "erasure_id": ordered.erasure_id,
        "user_id": user_id,
        "deleted_rows": found,
        "rewritten_files": files.rewritten,
        "deleted_files": files.deleted,
        "kafka": f"topics forget within {settings.topic_retention_hours} hours",
        "dead_letters": f"{settings.dead_letter_topic} forgets within its own retention",
        "backups": f"backups are gone after {settings.backup_retention_days} days",
    }
    done = erasure.complete(settings, ordered, receipt)
    receipts.keep(settings, [done])
    return receipt
