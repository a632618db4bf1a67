"""Let a source have an owner.

Revision ID: core_0005
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0005"
down_revision = "core_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("data_sources", "owner")
