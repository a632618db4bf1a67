"""What a person fills in and answers to replay rejected events (``replay_rejected_events``)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

TEXT: dict[str, Any] = {"type": ["null", "string"]}
MOMENT = TEXT | {
    "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$",
    "examples": ["2026-01-30 00:00:00"],
}
REPAIR: dict[str, Any] = {"type": "array", "items": {"type": "object"}}

FORM = {
    "source_id": Param("events", type="string", title="Source"),
    "reason": Param(None, title="Reason (empty: any)", **TEXT),
    "rule": Param(None, title="Rule (empty: any)", **TEXT),
    "since": Param(None, title="Rejected since (UTC; empty: the beginning)", **MOMENT),
    "until": Param(None, title="Rejected until (UTC; empty: now)", **MOMENT),
    "limit": Param(1_000_000, type="integer", minimum=1, title="At most so many"),
    "repair": Param(
        [],
        title="Repair: transformations as JSON",
        description="What each message goes through first, one after the other; such as "
        '[{"transform": "rename", "field": "uid", "to": "user_id"}]',
        **REPAIR,
    ),
}


def filled_in(params: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the form from a run's parameters, which have the run's conf besides."""
    return {name: params[name] for name in FORM}


def approval(preview_task: str) -> ApprovalOperator:
    """Return the task that shows what ``preview_task`` found and waits for a person, for a week."""
    found = f"ti.xcom_pull(task_ids='{preview_task}')"
    return ApprovalOperator(
        task_id="approve",
        subject=f"Send {{{{ {found}['selected'] }}}} rejected events again?",
        body=f"{{{{ {found}['text'] }}}}",
        response_timeout=timedelta(days=7),
        execution_timeout=None,
    )
