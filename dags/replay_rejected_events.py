"""### Repair rejected events and send them through the gate again, once each.

**Start it** by hand, with a configuration: the `source_id`, and what narrows the selection
(`reason`, `rule`, `since`, `until`; times are UTC). `repair` is a list of transformations that each
message goes through first, for example
`[{"transform": "rename", "field": "uid", "to": "user_id"}]` (trim, case, default, rename, map; see
docs/data-quality.md).

**What happens.** `preview` judges the selection by the rules of now; if nothing is selected, the
rest is skipped. `approve` shows the result and waits for a person, for a week (Required Actions in
the Airflow UI). `send` writes the events to the source's topic, where they are ingested like any
other; `settle` waits until each is in `events` or rejected anew, marks it so in `replayed_events`,
and returns how many ended how.

**What is sent** is what the preview selected, message by message, and nothing that was rejected
later. Each goes to the partition that its key has now. One that can't go is told in
`replayed_events` (`outcome` expired or refused, with the reason in `detail`) and stays in
`rejected_events`; the others go.

**Safe to repeat.** An event is replayed once: a second run with the same selection finds nothing
left. One that was rejected again is a new message and may be replayed in its turn. A task that is
cleared or retried goes on where it stopped.

**When `settle` times out**: `ingest_events` is not running, or is behind; clear it later.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, PokeReturnValue, dag, get_current_context, task


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    doc_md=__doc__,
    tags=["quality"],
    params={
        "source_id": Param("events", type="string", title="Source"),
        "reason": Param(None, type=["null", "string"], title="Reason (empty: any)"),
        "rule": Param(None, type=["null", "string"], title="Rule (empty: any)"),
        "since": Param(
            None, type=["null", "string"], title="Rejected since (UTC; empty: the beginning)"
        ),
        "until": Param(None, type=["null", "string"], title="Rejected until (UTC; empty: now)"),
        "limit": Param(1_000_000, type="integer", minimum=1, title="At most so many"),
        "repair": Param(
            [], type="array", items={"type": "object"}, title="Repair: transformations as JSON"
        ),
    },
    default_args={
        "owner": "data-engineering",
        "retries": 3,
        "retry_delay": timedelta(seconds=15),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=2),
    },
)
def replay_rejected_events() -> None:
    """Preview, approve, send, settle."""

    @task(execution_timeout=timedelta(minutes=30))
    def preview() -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from millrace.rules import approval, replay
        from millrace.settings import Settings

        given = dict(get_current_context()["params"])
        steps = given.pop("repair")
        criteria = replay.Criteria(**{name: value for name, value in given.items() if value})
        result = replay.preview(Settings(), criteria, steps)
        if result["replay_id"] is None:
            raise AirflowSkipException("nothing to replay: no rejected event is selected and left")
        return {**result, "text": approval.describe(result)}

    @task(execution_timeout=timedelta(hours=2))
    def send(previewed: dict[str, Any]) -> int:
        from millrace.rules import replay
        from millrace.settings import Settings

        return replay.send(Settings(), previewed["replay_id"])

    @task.sensor(poke_interval=10, timeout=3600, mode="reschedule")
    def settle(previewed: dict[str, Any]) -> PokeReturnValue:
        from millrace.rules import replay
        from millrace.settings import Settings

        outcomes = replay.settle(Settings(), previewed["replay_id"])
        return PokeReturnValue(is_done=not outcomes.get("pending"), xcom_value=outcomes)

    previewed = preview()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Send {{ ti.xcom_pull(task_ids='preview')['selected'] }} rejected events again?",
        body="{{ ti.xcom_pull(task_ids='preview')['text'] }}",
        response_timeout=timedelta(days=7),
    )
    previewed >> approve >> send(previewed) >> settle(previewed)


replay_rejected_events()
