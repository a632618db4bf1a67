"""Create the definitions and the record of exports.

Revision ID: exports_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "exports_0001"
down_revision = "core_0001"
branch_labels = ("exports",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: the record says which files are the truth of a window."""
    raise RuntimeError("exports_0001 records which files are valid; restore a backup instead")
