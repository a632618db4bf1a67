"""Let an incident tell of a rejected message that its dead-letter topic does not take.

Revision ID: core_0003
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0003"
down_revision = "core_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the kind."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: incidents of the kind may be there; restore a backup instead."""
    raise RuntimeError("core_0003 may hold incidents that core_0002 does not know")
