"""Create the record of imported files.

Revision ID: imports_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "imports_0001"
down_revision = "core_0001"
branch_labels = ("imports",)
depends_on = None


def upgrade() -> None:
    """Create the table."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: without the record a file would be imported twice."""
    raise RuntimeError("imports_0001 says which files were imported; restore a backup instead")
