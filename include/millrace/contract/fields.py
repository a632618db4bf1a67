"""The event contract as data: each field of a message, and the column that it becomes.

A new field is one entry in ``FIELDS``. From it follow its column in the tables of events and in
the statements that fill them, how the gate reads it, the checks that no rule can switch off, what
an import can fill, who may see it, and its line in docs/event-fields.md. Two files are generated
(``./millrace generate``): that document's table, and the macro that dbt selects
the columns with; a test holds them against this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reader = Literal["text", "uuid", "time", "user_id", "object"]
"""How the gate reads a field: as its text, or parsed into the column's type."""

NULLS: dict[Reader, str] = {
    "uuid": "toUUID('00000000-0000-0000-0000-000000000000')",
    "time": "toDateTime64(0, 3, 'UTC')",
}
"""What stands in a column where the field could not be read; such a message is rejected."""


@dataclass(frozen=True)
class Field:
    """A field of the event contract.

    ``name`` is its JSON key (a source may use another, ``data_sources.config``), ``column`` and
    ``type`` are those of the tables of events, in ClickHouse's words. ``is_generated`` says that an
    import makes the field where a file has none. Where an event lacks the field, the column
    ``enriched_from`` of the user's profile fills it.
    """

    name: str
    column: str
    type: str
    meaning: str
    reader: Reader = "text"
    is_required: bool = False
    is_personal: bool = False
    is_generated: bool = False
    enriched_from: str = ""


FIELDS = (
    Field(
        name="event_id",
        column="event_id",
        type="UUID",
        meaning="Tells the event from every other; a second one with the same id is rejected",
        reader="uuid",
        is_required=True,
        is_generated=True,
    ),
    Field(
        name="event",
        column="event_type",
        type="LowCardinality(String)",
        meaning="What happened; registered in `event_types`",
        is_required=True,
    ),
    Field(
        name="timestamp",
        column="event_time",
        type="DateTime64(3, 'UTC')",
        meaning="When it happened: ISO 8601 with a zone",
        reader="time",
        is_required=True,
    ),
    Field(
        name="user_id",
        column="user_id",
        type="UInt64",
        meaning="Who did it: a positive whole number",
        reader="user_id",
        is_required=True,
        is_personal=True,
    ),
    Field(name="page", column="page", type="String", meaning="Where it happened"),
    Field(
        name="country",
        column="country",
        type="LowCardinality(String)",
        meaning="ISO 3166-1 alpha-2; from the user's profile where the event has none",
        enriched_from="country",
    ),
    Field(
        name="device",
        column="device",
        type="LowCardinality(String)",
        meaning="Kind of device: mobile, tablet, desktop, tv, bot",
    ),
    Field(
        name="device_info",
        column="device_info",
        type="Map(LowCardinality(String), String)",
        meaning="What is known of the device: an object",
        reader="object",
        is_personal=True,
    ),
    Field(
        name="geo_location",
        column="geo_location",
        type="Map(LowCardinality(String), String)",
        meaning="What is known of the place: an object",
        reader="object",
        is_personal=True,
    ),
)

PROPERTIES = Field(
    name="",
    column="properties",
    type="Map(LowCardinality(String), String)",
    meaning="Every field that the contract does not name, and objects that are none, as text",
    is_personal=True,
)
"""The column for the rest of a message."""

COLUMNS = (
    *(f for f in FIELDS if f.reader != "object"),
    PROPERTIES,
    *(f for f in FIELDS if f.reader == "object"),
)
"""What a message becomes in the tables of events, in the order in which statements name it."""

BY_NAME = {field.name: field for field in FIELDS}

REQUIRED = tuple(field.name for field in FIELDS if field.is_required)
OBJECTS = tuple(field.name for field in FIELDS if field.reader == "object")

IMPORTABLE = tuple(field.name for field in FIELDS if field.reader != "object")
"""What an import can fill from a column of a file."""

IMPORT_REQUIRED = tuple(
    field.name for field in FIELDS if field.is_required and not field.is_generated
)
