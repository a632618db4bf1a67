"""Let verdicts be followed as they are given.

Revision ID: quality_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "quality_0001"
down_revision = "core_0001"
branch_labels = ("quality",)
depends_on = None


def upgrade() -> None:
    """Create the index."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("published_windows_checked")
