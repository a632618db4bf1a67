"""Create the keys that events are sent with, and what was sent with each.

Revision ID: access_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "access_0001"
down_revision = "core_0001"
branch_labels = ("access",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: a secret that was given away can't be made again."""
    raise RuntimeError("access_0001 creates the keys; restore a backup instead")
