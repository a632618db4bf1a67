"""Erase a person: from the warehouse, from PostgreSQL, from exported files; with a receipt."""

from __future__ import annotations

from typing import Any

from millrace.backups import erasure, receipts
from millrace.contract import people
from millrace.exports import erasure as exported
from millrace.imports import kept
from millrace.quality import docs
from millrace.settings import MissingSettingError, Settings

KEPT_ASIDE = ("*.damaged", "refused.jsonl")
"""What the ingestion API keeps in its spool's folder for people to look at."""


def user_id_of(settings: Settings, original_id: str) -> int:
    """Return the ``user_id`` of whom a sender calls this: a number, or a text that became one.

    Raises ``MissingSettingError`` for a text where nothing says which key it was hashed with.
    """
    number = people.canonical(original_id)
    if number is not None:
        return number
    key = settings.ingest_hash_key.get_secret_value().encode()
    if not key:
        raise MissingSettingError("MILLRACE_INGEST_HASH_KEY")
    return people.hashed(original_id, key)


def find(settings: Settings, user_id: int) -> dict[str, int]:
    """Count a person's rows by table; changes nothing. Raises ``BackupError`` for no user id."""
    return erasure.find(settings, user_id)


def erase(
    settings: Settings, user_id: int, requested_by: str, reason: str, original_id: str = ""
) -> dict[str, Any]:
    """Erase a person everywhere but in backups, which expire; return the receipt.

    It names the files of this machine that may hold them and that are for people to look at: bad
    rows of imports, in which they may stand as ``original_id``, and what the ingestion API could
    neither send nor read.

    From the moment that the order is committed, nobody writes any more what the person sent before.
    Files come after the tables that they are made from. Run again after a failure, it goes on with
    what is left. Raises ``BackupError`` if any row is left, the receipt can't be kept beside the
    backups, which a restore needs, or PostgreSQL lacks one that is there; ``ExportError`` naming
    the files that can't be read.
    """
    receipts.demand_known(settings)
    ordered = erasure.order(settings, user_id, requested_by, reason)
    receipts.keep(settings, [ordered])
    found = erasure.carry_out(settings, [ordered])
    files = exported.erase(settings, [user_id])
    reports = docs.erase(settings, [user_id])
    receipt = {
        "erasure_id": ordered.erasure_id,
        "user_id": user_id,
        "deleted_rows": found,
        "rewritten_files": files.rewritten,
        "deleted_files": files.deleted,
        "deleted_reports": reports,
        "to_look_at": _to_look_at(settings, {str(user_id), original_id} - {""}),
        "kafka": f"topics forget within {settings.topic_retention_hours} hours",
        "dead_letters": f"{settings.dead_letter_topic} forgets within its own retention",
        "backups": f"backups are gone after {settings.backup_retention_days} days",
    }
    done = erasure.complete(settings, ordered, receipt)
    receipts.keep(settings, [done])
    return receipt


def _to_look_at(settings: Settings, names: set[str]) -> list[str]:
    aside = settings.home / "ingestion" / "spool"
    kept_aside = [path for glob in KEPT_ASIDE for path in sorted(aside.glob(glob))]
    return [str(path) for path in [*kept.naming(settings, names), *kept_aside]]
