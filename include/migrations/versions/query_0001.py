"""Create what the query API keeps of requests that may be sent again.

Revision ID: query_0001
"""

from __future__ import annotations

from alembic import op

from millrace.stores import postgres

revision = "query_0001"
down_revision = "core_0001"
branch_labels = ("query",)
depends_on = None


def upgrade() -> None:
    """Create the table and the indexes."""
    postgres.apply_script(op.get_bind(), revision)


def downgrade() -> None:
    """Take them back; requests of the last day may be done twice then."""
    op.execute("DROP TABLE idempotent_answers; DROP INDEX audit_logs_actor, audit_logs_time")
