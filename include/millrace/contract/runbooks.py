"""Where people find a runbook."""

from __future__ import annotations

from millrace.settings import Settings


def link(settings: Settings, runbook: str) -> str:
    """Return a runbook's address: its own, or below ``runbook_url`` where that is set.

    Else it is the path of a file of the project, which a browser can't follow.
    """
    if runbook.startswith(("http://", "https://")) or not settings.runbook_url:
        return runbook
    return f"{settings.runbook_url.rstrip('/')}/{runbook.removeprefix('docs/runbooks/')}"
