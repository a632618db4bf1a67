"""Create the alert rules, their states and the outbox of notifications.

Revision ID: alerts_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "alerts_0001"
down_revision = "core_0001"
branch_labels = ("alerts",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: alert states decide who is notified; restore a backup instead."""
    raise RuntimeError("alerts_0001 holds alert states and is not taken back; restore a backup")
