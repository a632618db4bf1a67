"""Note which materialized views an insert met, and which were taken out of ingest's path.

Revision ID: core_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: without them a repeated insert may be counted twice; restore a backup instead."""
    raise RuntimeError("core_0002 holds what repeats are judged by; restore a backup instead")
