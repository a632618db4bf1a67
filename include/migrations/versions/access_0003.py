"""Create people who sign in, their sessions, and the keys that sign for them.

Revision ID: access_0003
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "access_0003"
down_revision = "access_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: a password can't be made again."""
    raise RuntimeError("access_0003 creates the users; restore a backup instead")
