"""Why a message is rejected: the closed list of reasons, and the label that a failure is kept as.

A label is ``reason|field|rule``; field and rule may be empty. Neither may hold the separator: the
schema of rules refuses it. Statements take labels apart with the macros of
``include/sql/clickhouse/contract/failures.sql.jinja``.
"""

from __future__ import annotations

from typing import NamedTuple

REASONS = (
    "empty_message",
    "message_too_large",
    "malformed_json",
    "missing_field",
    "invalid_type",
    "invalid_value",
    "out_of_range",
    "unknown_event_type",
    "unknown_reference",
    "condition_failed",
    "event_too_old",
    "event_in_future",
    "anomalous",
    "duplicate_event_id",
    "unprocessable",
)
"""In their order: of several failures, the first gives the reason (docs/rejection-reasons.md)."""

SEPARATOR = "|"

CONTRACT_RULE = "contract"
"""Name that a failure of the event contract itself carries in place of a rule's."""

GATE_RULE = "gate"
"""Name that the failure of a message carries at which the gate's own statement fails."""


class Failure(NamedTuple):
    """One failure of a message, taken apart."""

    reason: str
    field: str = ""
    rule: str = ""

    @property
    def label(self) -> str:
        """The failure as it is kept: ``reason|field|rule``."""
        return SEPARATOR.join(self)


def parse(label: str) -> Failure:
    """Return the failure that a label stands for; raises ``ValueError`` if it has other parts."""
    reason, field, rule = label.split(SEPARATOR)
    return Failure(reason, field, rule)
