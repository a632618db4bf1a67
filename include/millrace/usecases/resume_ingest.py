"""Resume ingest: load what Kafka has and a restored warehouse has not."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from millrace.contract import ledger
from millrace.ingest.model import StalledError
from millrace.ingest.plan import plan
from millrace.ingest.worker import Share, Worker
from millrace.settings import Settings
from millrace.stores import kafka, postgres

SHORTEST_TURN_SECONDS, LONGEST_TURN_SECONDS = 3.0, 30.0


class BehindError(RuntimeError):
    """Ingest did not catch up in time; the message says where it stands, and what was wrong."""


def resume(settings: Settings, seconds: float = 600) -> None:
    """Load until each partition has reached the end that it has in Kafka now, then return.

    Turns grow from three to thirty seconds, so that what stands in the way of one is tried again
    soon. Raises ``BehindError`` when ``seconds`` are over.
    """
    deadline = time.monotonic() + seconds
    ends: dict[tuple[str, int], int] | None = None
    with ThreadPoolExecutor() as pool:
        for turn in itertools.count():
            run_id = f"resume/{turn}"
            shares = [Share.from_dict(share) for share in plan(settings, run_id)]
            if ends is None:  # a plan adds the partitions that the ledger lacks
                ends = _ends(settings)
            workers = [_worker(settings, share, run_id, ends) for share in shares]
            length = min(SHORTEST_TURN_SECONDS * (turn + 1), LONGEST_TURN_SECONDS)
            trouble = "; ".join(filter(None, pool.map(partial(_load, seconds=length), workers)))
            behind = _behind(settings, ends)
            if not behind:
                return
            if time.monotonic() > deadline:
                raise BehindError(
                    f"after {seconds:.0f} s ingest is still behind: {behind}. {trouble}"
                )


def _ends(settings: Settings) -> dict[tuple[str, int], int]:
    with postgres.connect(settings) as connection:
        rows = connection.execute("SELECT topic, partition FROM ingest_positions").fetchall()
    return kafka.ends(settings, [(row["topic"], row["partition"]) for row in rows])


def _worker(
    settings: Settings, share: Share, run_id: str, ends: dict[tuple[str, int], int]
) -> Worker:
    """Return a worker that ends as soon as nobody is behind."""

    def stop_at_end() -> None:
        if not _behind(settings, ends):
            worker.stop()

    worker = Worker(settings, share, run_id, on_step=stop_at_end)
    return worker


def _load(worker: Worker, seconds: float) -> str:
    """Load for a while; return what stood in the way, which the next turn may overcome."""
    try:
        worker.run(seconds)
    except StalledError as error:
        return str(error)
    return ""


def _behind(settings: Settings, ends: dict[tuple[str, int], int]) -> str:
    """Say which partitions have not been loaded up to their ends; empty if all have."""
    with postgres.connect(settings) as connection:
        rows = ledger.judged_positions(connection)
    return ", ".join(
        f"{row['topic']}[{row['partition']}] at {row['judged_offset']}"
        for row in rows
        if row["judged_offset"] < ends.get((row["topic"], row["partition"]), 0)
    )
