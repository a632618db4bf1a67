"""Create the reports and what became of each.

Revision ID: reports_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "reports_0001"
down_revision = "core_0001"
branch_labels = ("reports",)
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: it would forget what people asked for."""
    raise RuntimeError("reports_0001 creates the reports; restore a backup instead")
