"""The key of the default source, which ``up`` makes and ``secrets.env`` keeps.

It is kept in the clear, unlike others, so that commands that send by HTTP work at once. It opens
nothing but the writing of events, which whoever may read ``secrets.env`` can do anyway.
"""

from __future__ import annotations

from millrace.access import keys
from millrace.access.keys import AccessError as AccessError
from millrace.settings import Settings
from millrace.stack import secrets
from millrace.stores import postgres


def rotate(settings: Settings, name: str, overlap_hours: float) -> tuple[str, bool]:
    """Give a key another secret; return it, and whether ``secrets.env`` has it now.

    Raises ``AccessError``.
    """
    kept = secrets.read(settings.home / "secrets.env").get("MILLRACE_INGEST_KEY", "")
    with postgres.connect(settings) as connection:
        is_kept = bool(kept) and any(
            key.name == name and key.digest == keys.digest(kept) for key in keys.every(connection)
        )
        text = keys.rotate(connection, name, overlap_hours)
    if is_kept:
        secrets.replace(settings.home, "MILLRACE_INGEST_KEY", text)
    return text, is_kept
