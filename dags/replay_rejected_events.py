"""Repair rejected events and send them through the gate again, once each.

**Start it** by hand, with a form: the source, and what narrows the selection. *Repair* is a list of
transformations that each message goes through first (trim, case, default, rename, map;
docs/data-quality.md says what each does), such as
`[{"transform": "rename", "field": "uid", "to": "user_id"}]`.

**What it does.** `preview` judges the selection by today's rules; if nothing is selected, the rest
is skipped. `approve` shows the result and waits for a person, for a week (*Required Actions*).
`send` writes exactly the messages of the preview to the source's topic, where they are ingested
like any other; one that can't go stays in `rejected_events`, and `replayed_events` says why.
`settle` waits until each is in `events` or rejected again, and returns how many ended how.

**Safe to repeat.** An event is replayed once: a second run with the same selection finds nothing
left. One that was rejected again is a new message and may be replayed in its turn.

**When `preview` fails**, its log says what the form asked for and can't have. **When `settle` times
out**: `ingest_events` is not running, or is behind; clear it later.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import PokeReturnValue, dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual
from millrace_replays import FORM, approval, filled_in


@dag(
    schedule=None,
    **manual(__doc__),
    tags=[Tag.QUALITY, Tag.TIER_3],
    params=FORM,
    default_args=default_args(Pool.QUALITY, timeout=timedelta(hours=2)),
)
def replay_rejected_events() -> None:
    """Preview, approve, send, settle."""

    @task
    def preview(params: dict[str, Any] | None = None) -> dict[str, Any]:
        from millrace.rules import approval as previewing

        try:
            found = previewing.preview(settings(), filled_in(params or {}))
        except ValueError as error:  # such as RuleError
            raise AirflowFailException(str(error)) from error
        if found["replay_id"] is None:
            raise AirflowSkipException("no rejected event is selected, or all were replayed")
        return found

    @task
    def send(previewed: dict[str, Any]) -> int:
        from millrace.rules import replay

        return replay.send(settings(), previewed["replay_id"])

    @task.sensor(poke_interval=10, timeout=3600, mode="reschedule")
    def settle(previewed: dict[str, Any]) -> PokeReturnValue:
        from millrace.rules import replay

        outcomes = replay.settle(settings(), previewed["replay_id"])
        return PokeReturnValue(is_done=not outcomes.get("pending"), xcom_value=outcomes)

    previewed = preview()
    previewed >> approval("preview") >> send(previewed) >> settle(previewed)


replay_rejected_events()
