"""Keep gates as what they ask of a message, beside the statements made of it.

Revision ID: rules_0004
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "rules_0004"
down_revision = "rules_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: rebuilds and replays need what the column holds; restore a backup instead."""
    raise RuntimeError("rules_0004 holds the gates in force and is not taken back")
