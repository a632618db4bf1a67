"""Files that follow from the event contract: ``./millrace generate`` writes them.

dbt's project is deployed and run by itself, and a document is read as it is, so both hold what
``fields`` says as text. A test holds them against it.
"""

from __future__ import annotations

from pathlib import Path

from millrace.contract.fields import COLUMNS, FIELDS, PROPERTIES, Field
from millrace.settings import REPOSITORY

BEGIN, END = "<!-- fields: begin -->\n", "<!-- fields: end -->\n"
DOCUMENT = Path("docs") / "event-fields.md"
MACRO = Path("dbt") / "macros" / "event_columns.sql"


def table() -> str:
    """Return the fields as a table in Markdown."""
    lines = [
        "| field | column | type | required | personal | meaning |",
        "|---|---|---|---|---|---|",
        *(_line(field) for field in (*FIELDS, PROPERTIES)),
    ]
    return "\n".join(lines) + "\n"


def _line(field: Field) -> str:
    cells = (
        f"`{field.name}`" if field.name else "every other",
        f"`{field.column}`",
        f"`{field.type}`",
        "yes" if field.is_required else "",
        "yes" if field.is_personal else "",
        field.meaning,
    )
    return f"| {' | '.join(cells)} |"


def macro() -> str:
    """Return the macro that dbt selects the columns of an event with."""
    names = ",\n    ".join(column.column for column in COLUMNS)
    return (
        "{#- What a message becomes, as millrace.contract.fields has it. Generated: "
        "./millrace generate -#}\n"
        f"{{% macro event_columns() -%}}\n    {names}\n{{%- endmacro %}}\n"
    )


def contents() -> dict[Path, str]:
    """Return what each generated file holds, by its path in the repository."""
    before, _, rest = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return {DOCUMENT: f"{before}{BEGIN}{table()}{END}{after}", MACRO: macro()}
