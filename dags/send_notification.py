"""Try out a route of alerts, or send a notification again.

**How.** *Trigger* opens a form: a route gets an alert that is over at once, by the way of every
alert; a notification (its number is in `./millrace alerts outbox`) goes out again, also one that
was sent. The task's return value says what became of it.

**When it fails**, its log says what the channel answered. The notification stays in the outbox, and
`check_alerts` goes on trying.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual


@dag(
    schedule=None,
    **manual(__doc__),
    tags=[Tag.ALERTS, Tag.TIER_3],
    default_args=default_args(Pool.ALERTS, retries=1),
    params={
        "route": Param(None, type=["null", "string"], title="Try out this route"),
        "notification_id": Param(
            None, type=["null", "integer"], title="Send this notification again"
        ),
    },
)
def send_notification() -> None:
    """One task: put it into the outbox, and send the outbox."""

    @task(execution_timeout=timedelta(minutes=3))
    def send(params: dict[str, Any]) -> list[str]:
        """Send what the form asks for; return what became of it."""
        from millrace.alerts import routing
        from millrace.contract.errors import RuleError
        from millrace_alert_senders import senders

        try:
            wanted = params["route"], params["notification_id"]
            return routing.send_now(settings(), senders(), *wanted)
        except RuleError as error:
            raise AirflowFailException(str(error)) from error

    send()


send_notification()
