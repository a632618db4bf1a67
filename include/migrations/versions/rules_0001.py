"""Create the ledger of replays and the record of schema drift.

Revision ID: rules_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "rules_0001"
down_revision = "core_0001"
branch_labels = ("rules",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: the ledger is what keeps a replay from being sent twice; restore a backup instead."""
    raise RuntimeError("rules_0001 holds the ledger of replays and is not taken back")
