"""Create the tokens that programs ask the query API with.

Revision ID: access_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "access_0002"
down_revision = "access_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: a secret that was given away can't be made again."""
    raise RuntimeError("access_0002 creates the tokens; restore a backup instead")
