"""Create the catalogue of backups, drills and erasures.

Revision ID: backups_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "backups_0001"
down_revision = "core_0001"
branch_labels = ("backups",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: the catalogue says what can be restored."""
    raise RuntimeError("backups_0001 holds the catalogue of backups and is not taken back")
