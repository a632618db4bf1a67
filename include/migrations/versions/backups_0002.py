"""Let everybody be erased whom events can name: numbers up to 2^64-1.

Revision ID: backups_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "backups_0002"
down_revision = "backups_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the column."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: orders of large numbers would not fit."""
    raise RuntimeError("backups_0002 holds orders to erase people and is not taken back")
