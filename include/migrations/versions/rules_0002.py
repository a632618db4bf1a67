"""Keep what a preview of a replay has selected, and why a message was not sent.

Revision ID: rules_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "rules_0002"
down_revision = "rules_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the column."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: an approval would send what nobody was shown; restore a backup instead."""
    raise RuntimeError("rules_0002 holds what was approved and is not taken back")
