"""An export that someone asks for: a range of a definition, filtered, ending with a link."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from millrace.contract import ledger, locks, verdicts
from millrace.exports import definitions
from millrace.exports.catalogue import NotPublishableError
from millrace.exports.definitions import FORMATS, Definition, ExportError, PersonalData
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import postgres

FOLDER = definitions.ON_DEMAND
OPERATORS = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "IN"}
_CONDITION = re.compile(
    r"(?P<column>[a-z_]+)\s*(?P<operator>!=|<=|>=|=|<|>|\bin\b)\s*(?P<value>.+)"
)


@dataclass(frozen=True)
class Request:
    """What is asked for; ``filters`` are conditions such as ``country = DE``, all of which hold."""

    name: str
    start: datetime
    end: datetime
    requested_by: str
    format: str = "Parquet"
    personal_data: PersonalData = PersonalData.EXCLUDED
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """Where the result is: ``url`` works until ``expires_at``, for whoever has it."""

    url: str
    expires_at: datetime
    rows: int
    bytes: int


def allowed(settings: Settings, user: str) -> PersonalData:
    """Return how much of personal data a user may see, from ``export_roles``."""
    with postgres.connect(settings) as connection:
        return definitions.allowed(connection, user)


def run(settings: Settings, request: Request) -> Delivery:
    """Make the file that was asked for and return a link to it.

    Raises ``ExportError`` when a field of the request does not fit, when the person may not see
    personal data that way, or when the range is empty; ``NotPublishableError`` when the quality
    gate does not let all of the range pass.
    """
    if request.format not in FORMATS:
        raise ExportError(f"format: {request.format} is none of {', '.join(FORMATS)}")
    if request.end <= request.start:
        raise ExportError("end: it must be after start")
    with Exporter(settings) as exporter:
        granted = definitions.allowed(exporter.postgres, request.requested_by)
        if not request.personal_data.at_least(granted):
            raise ExportError(
                f"personal_data: {request.requested_by} may have it {granted}, not "
                f"{request.personal_data}; ./millrace exports grant changes that"
            )
        (definition,) = definitions.read(exporter.postgres, request.name)
        conditions, values = compile_filters(definition, request.personal_data, request.filters)
        definition = replace(definition, format=request.format, filters=conditions)
        window = Window(definition.name, request.start, request.end, "on demand")
        if definition.gate:
            verdict = verdicts.ask(exporter.postgres, definition.gate, window.start, window.end)
            if verdict.status != "published":
                raise NotPublishableError(f"the range is {verdict.status}: {verdict.reason}")
        moment = datetime.now(UTC)
        prefix = f"{FOLDER}/{definition.name}/{moment:%Y%m%dT%H%M%S%f}/"
        with locks.shared(exporter.postgres, locks.EXPORT, FOLDER):
            export = exporter.write(
                definition,
                request.personal_data,
                window,
                ledger.snapshot(exporter.postgres),
                prefix,
                values,
                is_one_file=True,
            )
        if not export.files:
            raise ExportError("nothing matches: widen the range or the filters")
        life = timedelta(hours=settings.export_link_hours)
        url = exporter.objects.presigned_get_object(
            settings.s3_bucket, export.files[0]["key"], expires=life
        )
        return Delivery(url, moment + life, export.row_count, export.byte_count)


def compile_filters(
    definition: Definition, treatment: PersonalData, filters: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Return SQL conditions and the values they bind.

    Values are compared as text for ``=``, ``!=`` and ``in`` (comma separated), as numbers
    otherwise. A column that the export hides or hashes can't be filtered by, since that would tell
    what it holds. Raises ``ExportError`` naming the filter that does not fit.
    """
    conditions: list[str] = []
    values: dict[str, object] = {}
    visible = {
        column.name: column.expression
        for column in definition.columns
        if not column.is_personal or treatment is PersonalData.PLAIN
    }
    for position, text in enumerate(filters):
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ExportError(f"filters: {text!r} is not like 'country = DE' or 'page in /a, /b'")
        if match["column"] not in visible:
            raise ExportError(f"filters: {match['column']} is none of {', '.join(sorted(visible))}")
        expression, operator = visible[match["column"]], OPERATORS[match["operator"]]
        name, value = f"filter_{position}", match["value"].strip()
        if operator == "IN":
            conditions.append(f"toString({expression}) IN {{{name}:Array(String)}}")
            values[name] = [part.strip() for part in value.split(",")]
        elif operator in ("=", "!="):
            conditions.append(f"toString({expression}) {operator} {{{name}:String}}")
            values[name] = value
        else:
            number = f"toFloat64OrNull(toString({expression}))"  # of a text that is none, nothing
            conditions.append(f"{number} {operator} {{{name}:Float64}}")
            try:
                values[name] = float(value)
            except ValueError:
                raise ExportError(f"filters: {value!r} in {text!r} is no number") from None
    return tuple(conditions), values
