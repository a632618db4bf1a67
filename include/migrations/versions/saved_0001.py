"""Create what people make of the numbers and keep.

Revision ID: saved_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "saved_0001"
down_revision = "core_0001"
branch_labels = ("saved",)
depends_on = None


def upgrade() -> None:
    """Create the table."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: what people made can't be made again."""
    raise RuntimeError("saved_0001 holds what people made; restore a backup instead")
