"""The kinds of jobs, and what each takes."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import jsonschema
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.api.http import ProblemError

MOST_DAYS = 100
"""Days that one job works on at most."""

_DATE = {"type": "string", "format": "date"}
_DAYS: Mapping[str, Any] = {
    "from": {**_DATE, "title": "First day (UTC)"},
    "to": {**_DATE, "title": "Last day, inclusive"},
}


@dataclass(frozen=True)
class Kind:
    """What a person may start.

    Args:
        name: What it is called in the API.
        dag_id: The DAG that does it; its parameters are the kind's.
        is_by_day: Whether it takes ``from`` and ``to``, and has a run for each day.
        admin_only: Parameters that only an admin may set.
    """

    name: str
    dag_id: str
    is_by_day: bool = False
    admin_only: frozenset[str] = frozenset()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("process-data", "rebuild_events", is_by_day=True),
        Kind("cleanup", "expire_data", admin_only=frozenset({"user_id", "reason"})),
        Kind("export", "export_events"),
        Kind("export-file", "export_on_demand"),
        Kind("replay", "replay_rejected_events"),
        Kind("generate-report", "send_reports"),
        Kind("send-notification", "send_notification"),
        Kind("backup", "back_up_warehouse"),
        Kind("drill", "drill_restore"),
    )
}


class KindDescription(BaseModel):
    """A kind of job, and what it takes."""

    kind: str
    dag_id: str
    description: str
    manual: str = Field(description="What it does and what to do when it fails, as Markdown.")
    parameters: dict[str, Any] = Field(description="JSON schema of the parameters.")
    admin_only: list[str] = Field(description="Parameters that only an admin may set.")
    is_paused: bool = Field(description="Whether its DAG is paused, so that jobs wait.")


def named(name: str) -> Kind:
    """Return a kind. Raises ``ProblemError`` (404)."""
    if name not in KINDS:
        raise ProblemError(
            404, "unknown_kind", f"There is no kind {name!r} of jobs; there are {', '.join(KINDS)}."
        )
    return KINDS[name]


def describe(kind: Kind, dag: Mapping[str, Any]) -> KindDescription:
    """Describe a kind by what Airflow says of its DAG."""
    return KindDescription(
        kind=kind.name,
        dag_id=kind.dag_id,
        description=dag["description"] or "",
        manual=dag["doc_md"] or "",
        parameters=_schema(kind, dag["params"] or {}),
        admin_only=sorted(kind.admin_only),
        is_paused=dag["is_paused"],
    )


def _schema(kind: Kind, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a kind's parameters; needed are those without a fitting default."""
    properties: dict[str, Any] = dict(_DAYS) if kind.is_by_day else {}
    required = list(properties)
    for name, param in params.items():
        properties[name] = described = dict(param.get("schema") or {})
        if param.get("description"):
            described["description"] = param["description"]
        if _validator(described).is_valid(param.get("value")):
            described["default"] = param.get("value")
        else:
            required.append(name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


_FORMATS = jsonschema.FormatChecker()
_FORMATS.checks("date-time", raises=ValueError)(_is_moment)


def _validator(schema: Mapping[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(schema, format_checker=_FORMATS)


def demand_all(whose: Principal) -> None:
    """Raise ``ProblemError`` (403) for who may see a part only: jobs work on everything."""
    if whose.sources is not None or whose.datasets is not None:
        raise ProblemError(
            403, "not_allowed", "Jobs work on all sources and datasets, and you may see some only."
        )


def check(description: KindDescription, parameters: Mapping[str, Any], whose: Principal) -> None:
    """Raise ``ProblemError`` unless somebody may start a job with these parameters.

    422: they don't fit; 403: a parameter is an admin's.
    """
    errors = [
        {"pointer": "/".join(("/body/parameters", *map(str, one.path))), "detail": one.message}
        for one in _validator(description.parameters).iter_errors(dict(parameters))
    ]
    if errors:
        detail = f"{errors[0]['pointer']}: {errors[0]['detail']}"
        raise ProblemError(422, "invalid_request", detail, extra={"errors": errors})
    reserved = [name for name in description.admin_only if parameters.get(name)]
    if reserved and not whose.has("admin"):
        raise ProblemError(403, "not_allowed", f"Only an admin may set {', '.join(reserved)}.")
    if KINDS[description.kind].is_by_day:
        days(parameters)


def days(parameters: Mapping[str, Any]) -> list[str]:
    """Return the days from ``from`` to ``to``. Raises ``ProblemError`` (422)."""
    first, last = (date.fromisoformat(parameters[name]) for name in ("from", "to"))
    today = datetime.now(UTC).date()
    if not first <= last <= today or (last - first).days >= MOST_DAYS:
        raise ProblemError(
            422,
            "invalid_request",
            f"From {first} to {last}: ask for 1 to {MOST_DAYS} days, the last not after {today}.",
        )
    return [f"{first + timedelta(days=number)}" for number in range((last - first).days + 1)]


OURS = "api~"
"""How the id of a run begins that the API starts; ``~`` and the day follow where it has one."""


def is_ours(run_id: str) -> bool:
    """Tell whether it is what ``new_id`` begins the ids of a job's runs with."""
    return re.fullmatch(rf"{OURS}[0-9a-f]{{24}}", run_id) is not None


def new_id(kind: str, whose: Principal, key: str) -> str:
    """Return the id of the job that a person asks for under an Idempotency-Key; none: a new one."""
    text = "\n".join((whose.name, kind, key)) if key else secrets.token_hex(16)
    return f"{kind}.{OURS}{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def job_id(kind: Kind, run_id: str) -> str:
    """Return the id of the job that a run belongs to."""
    if kind.is_by_day and run_id.startswith(OURS):
        run_id = run_id.rpartition("~")[0]
    return f"{kind.name}.{run_id}"
