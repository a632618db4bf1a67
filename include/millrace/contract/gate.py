"""The gate, which judges and shapes messages, as an object that any relation of them goes through.

It is compiled from the rules and kept in ``gates``, with the statement that micro-batches run; a
rebuild and the preview of a replay render it over other relations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.contract.failures import CONTRACT_RULE, Failure
from millrace.stores import sql
from millrace.stores.quoting import literal

INPUT = "incoming"
"""The relation that a micro-batch's messages are in: ``topic``, ``topic_incarnation``,
``partition``, ``offset``, ``kafka_timestamp``, ``key``, ``value``, ``headers``."""

CLAIMED_AT = "{claimed_at:DateTime64(3, 'UTC')}"
"""When a message was received: its micro-batch's claim, which a repeat binds as the first time."""

MESSAGE_ON_DEMAND = "substring(value, i + 1)"
"""The message, within ``on_demand``."""

MARKED = "clickhouse/contract/marked.sql"


def on_demand(condition: str, expression: str) -> str:
    """Return an array of the expression's value where the condition holds, else an empty one.

    The arms of an ``if`` may be evaluated for every row, and columns are copied for those of an
    ``AND``; a lambda is evaluated for the elements of its array alone. In ``expression``, ``i`` is
    0: whatever costs must depend on it, since what does not is evaluated outside the lambda.
    """
    return f"arrayMap(i -> {expression}, range(toUInt8({condition})))"


@dataclass(frozen=True)
class Gate:
    """What is asked of a message, as ClickHouse expressions over it.

    Args:
        message_max_bytes: A longer message is rejected unread.
        stages: What is computed first, by alias; each stage may use those before it.
        columns: What the message becomes: the column of the event, and its expression.
        is_broken: Whether any enforced check fails.
        is_warned: Whether any check that only warns fails.
        failures: The labels of the enforced checks that fail.
        warnings: The labels of the others.
    """

    message_max_bytes: int
    stages: tuple[Mapping[str, str], ...]
    columns: Mapping[str, str]
    is_broken: str
    is_warned: str
    failures: str
    warnings: str

    def statement(
        self,
        relation: str = INPUT,
        claimed_at: str = CLAIMED_AT,
        passed_on: Sequence[str] = (),
    ) -> str:
        """Return the SELECT of ``staged``'s columns from a relation with those of ``incoming``.

        Args:
            relation: A name, or a query in parentheses.
            claimed_at: The expression that tells when a message was received.
            passed_on: Further columns of the relation to hand on as they are.
        """
        return sql.render(
            "clickhouse/contract/gate.sql",
            gate=self,
            relation=relation,
            claimed_at=claimed_at,
            passed_on=passed_on,
            unreadable=lambda reason: literal(Failure(reason, rule=CONTRACT_RULE).label),
            marked=on_demand("empty(plain)", sql.render(MARKED, message=MESSAGE_ON_DEMAND)),
        )

    @property
    def fingerprint(self) -> str:
        """What tells one gate from another: the SHA-256 of the statement of micro-batches."""
        return hashlib.sha256(self.statement().encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return the gate as ``gates.definition`` keeps it.

        Expressions by name become pairs: PostgreSQL's jsonb keeps no order of names.
        """
        return {
            **asdict(self),
            "stages": [list(stage.items()) for stage in self.stages],
            "columns": list(self.columns.items()),
        }

    @classmethod
    def in_force(cls, connection: psycopg.Connection[DictRow], source_id: str) -> Gate | None:
        """Return the gate that a source's messages go through now, if one was compiled."""
        row = connection.execute(
            sql.render("postgres/contract/current_gate.sql"), {"source_id": source_id}
        ).fetchone()
        return None if row is None else cls.from_json(row["definition"])

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Gate:
        """Return the gate that ``as_json`` made ``values`` of."""
        stages = tuple(dict(stage) for stage in values["stages"])
        return cls(**{**values, "stages": stages, "columns": dict(values["columns"])})
