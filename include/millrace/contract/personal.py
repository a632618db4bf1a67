"""What tells who someone is: columns, and messages as they were received."""

from __future__ import annotations

from millrace.contract.fields import COLUMNS

PERSONAL_COLUMNS = tuple(column.column for column in COLUMNS if column.is_personal)
"""Columns of the tables of events that ``reader`` does not see and exports protect."""

NAMES_USER = (
    "key = toString({user:UInt64}) OR "
    "trim(BOTH '\"' FROM JSONExtractRaw(value, 'user_id')) = toString({user:UInt64})"
)
"""The condition that a message, as it was received, is of the user that is bound as ``user``."""
