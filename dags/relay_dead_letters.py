"""Write every rejected event to its source's dead-letter topic, once.

**What it does**, every minute: relays what was rejected since the last run to the topic
(`events.dead_letter`): the original key, value and headers, and beside them `x-millrace-reason`,
`-failures`, `-source`, `-topic`, `-partition` and `-offset`.

**When it fails**: Kafka, ClickHouse or PostgreSQL did not answer; the log names which. Nothing is
lost or repeated: the place up to which a partition was relayed is part of the Kafka transaction
that carried its messages. Clear the task once the server is back, or wait for the next run.

The place is what the consumer group `millrace.dead_letters.<source>` has committed, which any
client of Kafka shows.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    **manual(__doc__),
    max_active_runs=1,
    tags=[Tag.QUALITY, Tag.TIER_2],
    default_args=default_args(Pool.QUALITY),
)
def relay_dead_letters() -> None:
    """Relay rejected events to Kafka."""

    @task(execution_timeout=timedelta(minutes=15))
    def relay() -> dict[str, int]:
        """Relay what each source has; return how many by source."""
        from millrace.rules import dead_letters

        return dead_letters.relay(settings())

    relay()


relay_dead_letters()
