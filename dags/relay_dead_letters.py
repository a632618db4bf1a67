"""# relay_dead_letters.

Writes every rejected event to its source's dead-letter topic (`events.dead_letter`), once: the
original key, value and headers, and beside them `x-millrace-reason`, `-failures`, `-source`,
`-topic`, `-partition` and `-offset`.

**Runs** every minute; a run relays what was judged since the last one and ends.

**When it fails**: Kafka, ClickHouse or PostgreSQL did not answer; the log names which. Nothing is
lost or repeated: the place up to which a partition was relayed is part of the Kafka transaction
that carried its messages. Clear the task once the server is back, or wait for the next run.

**To see the place**: `kafka-consumer-groups --describe --group millrace.dead_letters.<source>`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task


@dag(
    schedule="* * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["quality", "kafka"],
    default_args={
        "owner": "data-engineering",
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=2),
    },
)
def relay_dead_letters() -> None:
    """Relay rejected events to Kafka."""

    @task(execution_timeout=timedelta(minutes=15))
    def relay() -> dict[str, int]:
        from millrace.rules import dead_letters
        from millrace.settings import Settings

        return dead_letters.relay(Settings())

    relay()


relay_dead_letters()
