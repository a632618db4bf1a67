"""How soon a drop in traffic is told, and how often: ``./millrace bench alert_latency``.

Brings up a whole stack, fills the last hour with traffic, goes on at the same rate, drops it at
the start of a minute, kills the scheduler in the middle of the run that is to tell of it
(SIGKILL), and later restores the traffic. Slack and PagerDuty are local servers that speak their
protocols, reached through Airflow connections. Takes about fifteen minutes; writes
``results/alert_latency.json``.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from bench import bed
from millrace import waiting
from millrace.alerts import rules
from millrace.lab import stacks
from millrace.lab.channels import Channels, serving
from millrace.lab.simulate import faults, send
from millrace.settings import Settings
from millrace.stack import airflow
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres

RATE = 25
"""Events a second: 1,500 a minute, above the 1,000 from which the rule judges."""
HISTORY_MINUTES = 75
RULE = "traffic_drop"
MINUTE = timedelta(minutes=1)


def main(
    drop: Annotated[float, typer.Option(help="Share of the traffic that goes missing.")] = 0.6,
    minutes: Annotated[int, typer.Option(help="How long it is missing.")] = 4,
    kill: Annotated[bool, typer.Option(help="Kill the scheduler in the middle.")] = True,
    pictures: Annotated[Path | None, typer.Option(help="Keep charts and messages here.")] = None,
) -> None:
    """Measure once and write the result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with (
        serving() as channels,
        tempfile.TemporaryDirectory(prefix="millrace-bench-", dir="/tmp") as folder,
        stacks.running(Path(folder), with_airflow=True) as stack,
        stacks.variables(stack.environment),
    ):
        found = measure(stack, channels, drop, minutes, kill=kill)
        if pictures:
            keep(channels, pictures)
    bed.write("alert_latency", found)


def measure(
    stack: Stack, channels: Channels, drop: float, minutes: int, *, kill: bool
) -> dict[str, Any]:
    """Play the story; return what was told, and when."""
    settings = stack.settings
    connect_channels(stack, channels)
    arrivals = Arrivals()
    channels.on_arrival = arrivals.note
    fill_history(settings)
    with sending(settings, RATE):
        say("waiting until three minutes in a row were judged and found in order")
        waiting.until(lambda: judged_in_order(settings) >= 3, "three minutes in order", seconds=600)
        until(next_minute() - timedelta(seconds=1))
    dropped = next_minute()
    with sending(settings, RATE * (1 - drop)):
        say(f"{drop:.0%} of the traffic is missing from {dropped:%H:%M} on")
        until(dropped + MINUTE + timedelta(seconds=3))
        killed = time.time()
        if kill:
            stack.kill("scheduler")
            say("scheduler killed")
        until(dropped + minutes * MINUTE - timedelta(seconds=1))
    restored = next_minute()
    with sending(settings, RATE):
        say(f"traffic is back from {restored:%H:%M} on")
        until(restored + 4 * MINUTE)
        runs = run_seconds(stack)
    ours = [a for a in arrivals.seen if a["rule"] == RULE]
    told = {
        f"{channel} {event}": [
            round(a["at"] - (since + MINUTE).timestamp(), 1)
            for a in ours
            if (a["channel"], a["event"]) == (channel, event)
        ]
        for channel in ("slack", "pagerduty")
        for event, since in (("trigger", dropped), ("resolve", restored))
    }
    return {
        "rule": RULE,
        "events_a_minute": RATE * 60,
        "share_missing": drop,
        "seconds_from_the_end_of_the_first_minute_below_to_each_notification": told,
        "exactly_one_each": all(len(times) == 1 for times in told.values()),
        "within_90_seconds": all(t <= 90 for times in told.values() for t in times),
        "scheduler_killed_seconds_after_that_minute": (
            round(killed - (dropped + MINUTE).timestamp(), 1) if kill else None
        ),
        "other_alerts_told": sorted({a["rule"] for a in arrivals.seen if a["rule"] != RULE}),
        "refused_by_the_protocol_checks": channels.refused,
        "run_of_check_alerts": runs,
    }


def connect_channels(stack: Stack, channels: Channels) -> None:
    """Make the Airflow connections, and switch the routes on."""
    with airflow.api(stack.settings, stack.secrets) as client:
        for name, conn_type, password, base in (
            ("slack_alerts", "slack", "xoxb-test", f"{channels.address}/slack/"),
            ("pagerduty_alerts", "pagerduty_events", "k" * 32, channels.address),
        ):
            body = {
                "connection_id": name,
                "conn_type": conn_type,
                "password": password,
                "extra": json.dumps({"base_url": base}),
            }
            client.post("/connections", json=body).raise_for_status()
    with postgres.connect(stack.settings) as connection:
        connection.execute(
            "UPDATE alert_routes SET is_active = true WHERE name IN ('slack', 'pagerduty')"
        )


def fill_history(settings: Settings) -> None:
    """Send the traffic of the time before now, up to the present moment."""
    start = datetime.now(UTC) - HISTORY_MINUTES * MINUTE
    seconds = HISTORY_MINUTES * 60.0
    plan = send.Plan(
        seed=1,
        rates=faults.rates({}, with_defaults=False),
        rate=0,
        duration=seconds,
        total=int(RATE * seconds),
        start=start,
    )
    send.run(plan, settings, topic=settings.events_topic)
    say(f"{plan.total} events of the last {HISTORY_MINUTES} minutes sent")


@contextmanager
def sending(settings: Settings, rate: float) -> Iterator[None]:
    """Send at a rate beside the block."""
    plan = send.Plan(
        seed=int(time.time()),
        rates=faults.rates({}, with_defaults=False),
        rate=rate,
        duration=3600,
    )
    stop = threading.Event()
    arguments = {"topic": settings.events_topic, "stop": stop}
    thread = threading.Thread(target=send.run, args=(plan, settings), kwargs=arguments)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Arrivals:
    """Notes when each message arrives at a channel."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._names = sorted((r.name for r in rules.load_seeds()[2]), key=len, reverse=True)
        self._by_dedup_key: dict[str, str] = {}

    def note(self, channel: str, message: dict[str, Any]) -> None:
        """Take down a message that arrives now."""
        at = time.time()
        if channel == "slack":
            event = "resolve" if message["text"].startswith("Resolved: ") else "trigger"
            rule = self._named(json.dumps(message["attachments"]))
        else:
            event = message["event_action"]
            named = self._named(json.dumps(message))
            rule = self._by_dedup_key.setdefault(message["dedup_key"], named)
        say(f"{channel}: {event} of {rule}")
        self.seen.append({"at": at, "channel": channel, "event": event, "rule": rule})

    def _named(self, text: str) -> str:
        return next((name for name in self._names if name in text), "?")


def judged_in_order(settings: Settings) -> int:
    """Return how many minutes were judged since the rule last was active or had no data."""
    client = clickhouse.connect(settings)
    try:
        rows = client.query(
            "SELECT status FROM alert_evaluations FINAL WHERE rule_name = {rule:String} "
            "ORDER BY evaluated_at DESC LIMIT 10",
            parameters={"rule": RULE},
        ).result_rows
    finally:
        client.close()
    states = [str(status) for (status,) in rows]
    return next((n for n, status in enumerate(states) if status != "ok"), len(states))


def run_seconds(stack: Stack) -> dict[str, Any]:
    """Return how long runs of check_alerts and their tasks took, in seconds, from Airflow."""
    url = (
        airflow.environment(stack.settings, stack.secrets)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        .replace("postgresql+psycopg2", "postgresql")
        .replace("postgresql+psycopg", "postgresql")
    )
    with psycopg.connect(url) as connection:
        runs = connection.execute(
            "SELECT extract(epoch FROM end_date - logical_date)::float8 FROM dag_run "
            "WHERE dag_id = 'check_alerts' AND state = 'success'"
        ).fetchall()
        tasks = connection.execute(
            "SELECT task_id, extract(epoch FROM start_date - queued_dttm)::float8, "
            "extract(epoch FROM end_date - start_date)::float8 FROM task_instance "
            "WHERE dag_id = 'check_alerts' AND state = 'success'"
        ).fetchall()

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 2) if values else 0.0

    return {
        "runs": len(runs),
        "minute_to_end_median_seconds": median([seconds for (seconds,) in runs]),
        **{
            f"{task} {what}": median([row[place] for row in tasks if row[0] == task])
            for task in sorted({row[0] for row in tasks})
            for place, what in ((1, "queued_to_start"), (2, "start_to_end"))
        },
    }


def keep(channels: Channels, folder: Path) -> None:
    """Write what the channels got, to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in channels.slack_files.items():
        (folder / f"{name}.png").write_bytes(picture)
    got = {"slack": channels.slack_messages, "pagerduty": channels.pagerduty_events}
    (folder / "messages.json").write_text(json.dumps(got, indent=2))


def next_minute() -> datetime:
    """Return the start of the next minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + MINUTE


def until(moment: datetime) -> None:
    """Wait for a moment."""
    threading.Event().wait(max(0.0, moment.timestamp() - time.time()))


def say(text: str) -> None:
    """Say what happens, with the time."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    typer.run(main)
