"""How long each disaster of docs/runbooks/disasters.md takes, with the commands that it names.

``./millrace bench disasters``. One data stack under load (1,000 messages a second) loses
one thing after another; a person's commands are typed for real, and each time is from the loss to
ingest loading again. At the end the oracle counts. Results go to bench/results/disasters.json.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import typer

from bench import bed
from millrace.lab.chaos import campaign, disaster
from millrace.lab.chaos.disaster import Load
from millrace.lab.verify import conservation, simulation
from millrace.stack.stack import Stack

Act = Callable[[], None]


def nothing() -> None:
    """Do nothing."""


@dataclass
class Ordeal:
    """One stack, and what happened to it so far."""

    stack: Stack
    load: Load
    results: dict[str, Any] = field(default_factory=dict)

    def type(self, *arguments: str) -> str:
        """Type a command."""
        return disaster.millrace(self.stack.settings, *arguments)

    def suffer(self, name: str, lose: Act, *commands: list[str]) -> None:
        """Lose something under load, type the commands, and wait until ingest loads again."""
        self.load.await_messages(2000)
        self.measure(name, lose, *commands)

    def measure(self, name: str, lose: Act, *commands: list[str], then: Act = nothing) -> None:
        """Measure from a loss to the first message that is loaded after it."""
        began = time.monotonic()
        lose()
        steps = {}
        for command in commands:
            at = time.monotonic()
            self.type(*command)
            steps["./millrace " + " ".join(command)] = round(time.monotonic() - at, 1)
        then()
        self.load.await_messages(1)
        self.results[name] = {
            "commands_seconds": steps,
            "until_ingest_loads_again_seconds": round(time.monotonic() - began, 1),
        }
        print(name, self.results[name], flush=True)


def lose_kafka(stack: Stack) -> None:
    """Lose the broker's folder, and start it with an empty one."""
    stack.stop("kafka")
    shutil.rmtree(stack.settings.home / "kafka")
    stack.start("kafka")
    stack.wait_healthy("kafka")


def main() -> None:
    """Go through every disaster and write the results."""
    with bed.running(**campaign.ENVIRONMENT) as stack:
        for name in ("backup_gateway", "wal_archiver"):
            stack.start(name)
            stack.wait_healthy(name)
        with disaster.under_load(stack, rate=1000, seed=12) as load:
            ordeal = Ordeal(stack, load)
            load.await_messages(20_000)
            ordeal.type("backups", "run")
            restore = ["restore"]
            ordeal.suffer(
                "clickhouse",
                lambda: disaster.destroy(stack, "clickhouse"),
                [*restore, "--only", "warehouse"],
            )
            ordeal.suffer(
                "postgres",
                lambda: disaster.destroy(stack, "postgres"),
                [*restore, "--only", "metadata"],
            )
            ordeal.suffer(
                "both", lambda: disaster.destroy(stack, "clickhouse", "postgres"), restore
            )
            ordeal.type("backups", "run")
            ordeal.suffer(
                "bucket_of_backups",
                lambda: disaster.delete_bucket(stack, stack.settings.s3_backup_bucket),
                ["backups", "run", "--full"],
            )
            ordeal.suffer(
                "bucket_of_exports",
                lambda: disaster.delete_bucket(stack, stack.settings.s3_bucket),
                ["migrate"],
            )
            load.await_messages(2000)
            before = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
            ordeal.suffer("poisoned_data", lambda: None, [*restore, "--to", before, "--replace"])
            sent = load.finish()
            reports = [
                simulation.verify(sent, stack.settings, wait_seconds=120),
                conservation.verify(stack.settings, wait_seconds=60),
            ]
            # Last, since Kafka alone can say what it had.
            ordeal.measure("kafka", lambda: lose_kafka(stack), ["migrate"], then=load.send_more)
            load.finish()
        differences = sum(report.differences for report in reports)
        bed.write(
            "disasters",
            {"messages": sent.sent, "differences": differences, "disasters": ordeal.results},
        )


if __name__ == "__main__":
    typer.run(main)
