"""Create the metadata that every feature shares, and the ingest ledger.

Revision ID: core_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: the ledger is the memory of what was loaded; restore a backup instead."""
    raise RuntimeError("core_0001 holds the ingest ledger and is not taken back; restore a backup")
