"""Remember which windows of exports wait.

Revision ID: exports_0002
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "exports_0002"
down_revision = "exports_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Forget which windows wait; all of them are looked for again."""
    op.execute("DROP TABLE export_waiting")
    op.execute("DROP TABLE export_looks")
