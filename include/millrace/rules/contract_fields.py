"""How the gate reads the contract's own fields: ids exactly, and objects as maps."""

from __future__ import annotations

import re

from millrace.contract.gate import MESSAGE_ON_DEMAND, on_demand
from millrace.rules.comparisons import FLOAT_DIGITS
from millrace.rules.expressions import Fields, either
from millrace.stores import sql
from millrace.stores.quoting import literal

WRITTEN_NUMBER = r'\s*:\s*"?([^",}\s]*)'
"""What follows a key, up to the end of the number that its value is."""


def event_id(fields: Fields) -> str:
    """Return the event's id; null where the text is no UUID."""
    return fields.define("event_id_parsed", f"toUUIDOrNull({fields.text('event_id')})")


def user_id(fields: Fields) -> str:
    """Return the user's id; 0 where the text is no number of 64 bits."""
    return fields.define("user_id_parsed", f"toUInt64OrZero({fields.text('user_id')})")


def json_type(key: str, message: str = "value") -> str:
    """Return the JSON type of what a message has under a key.

    The parser takes no message with a number beyond Float64, so another stands for it here.
    """
    readable = f"if(marked = '', {message}, replaceRegexpAll(marked, '\\x01[^\\x01]+\\x01', '0'))"
    return f"JSONType({readable}, {literal(key)})"


def is_rounded(fields: Fields) -> str:
    """Return whether the user's id is a JSON number that the parser had to round.

    12.0 is 12. But 12345678901234567.0 would be read as 12345678901234568, who is someone else. The
    message is looked through only where its first such key is not followed by the id as it was
    read and a comma.
    """
    user, rounded = fields.text("user_id"), []
    for key in fields.keys("user_id"):
        name, text = f'"{key}"', fields.original(key)
        start = f"position(value, {literal(name + ':')}) + {len(name.encode()) + 1}"
        first = f"substring(value, {start}, length({text}) + 1) = concat({text}, ',')"
        message = MESSAGE_ON_DEMAND
        written = f"extractAll({message}, {literal(re.escape(name) + WRITTEN_NUMBER)})"
        # Up to 15 digits a Float64 keeps; and zeros after the point are none of an integer's.
        is_exact = (
            f"ifNull(toFloat64OrNull(w) = toFloat64OrNull({text}), 0) AND "
            f"(length(replaceRegexpAll(w, '[eE].*$|[^0-9]', '')) <= {FLOAT_DIGITS} "
            f"OR replaceRegexpOne(w, '[.]0*$', '') = {text})"
        )
        doubt = (
            f"{user} = {text} AND {json_type(key, message)} = 'Double' "
            f"AND NOT arrayExists(w -> {is_exact}, {written})"
        )
        rounded.append(f"has({on_demand(f'NOT ({first})', doubt)}, 1)")
    return either(rounded)


def entries(fields: Fields, name: str) -> str:
    """Return an object's fields as a map, the first of equal keys; empty where it is no object."""
    text = fields.text(name)
    parsed = fields.define(
        f"{name}_read", f"if({text} = '', map(), JSONExtract({text}, 'Map(String, String)'))"
    )
    return fields.define(f"{name}_entries", unique_keys(parsed))


def unique_keys(entries: str, condition: str = "") -> str:
    """Return a map's entries that a condition on ``entry`` lets pass, the first of equal keys."""
    return sql.render("clickhouse/contract/unique_keys.sql", entries=entries, condition=condition)


def is_no_object(fields: Fields, name: str) -> str:
    """Return whether a field that should be an object is there and is something else."""
    text = fields.text(name)
    test = f"{text} != '' AND empty({entries(fields, name)}) AND JSONType({text}) != 'Object'"
    return fields.define(f"{name}_is_none", test)
