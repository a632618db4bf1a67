"""Let the progress of an import belong to its mapping, too.

Revision ID: imports_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "imports_0002"
down_revision = "imports_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the table."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: imports are recorded by file, mapping and topic."""
    raise RuntimeError("imports_0002 tells imports of one file apart; restore a backup instead")
