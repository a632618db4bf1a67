"""Give micro-batches numbers that come once, whatever is restored.

Revision ID: core_0004
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "core_0004"
down_revision = "core_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the sequence."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Refuse: micro-batches have the new numbers; restore a backup instead."""
    raise RuntimeError("core_0004 gives numbers that no earlier sequence goes on from")
