"""Tell views that were taken out for an error that may pass.

Revision ID: core_0006
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0006"
down_revision = "core_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("withdrawn_views", "may_pass")
