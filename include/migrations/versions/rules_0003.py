"""Keep where the relay of rejected events stands, by incarnation of a topic.

Revision ID: rules_0003
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "rules_0003"
down_revision = "rules_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: what was relayed would be relayed again; restore a backup instead."""
    raise RuntimeError("rules_0003 holds what was relayed and is not taken back")
