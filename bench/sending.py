"""How fast traffic is sent: the simulator, and the import of a file.

``./millrace bench sending FLIGHTS``, where FLIGHTS is ``flights-3m.parquet`` (docs/importing.md
says where it is from). Starts a stack of its own. The baseline is confluent-kafka's own producer in
one process, sending the same messages again. At the end the whole file is loaded, and its flights
and delays per day and airport are held against pyarrow's own reading.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from bench import bed
from millrace.imports import send as imports
from millrace.imports.mapping import Mapping
from millrace.imports.request import Request
from millrace.lab.simulate import faults
from millrace.lab.simulate import send as simulator
from millrace.lab.simulate.traffic import Traffic
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka

FIRST_DAY = date(2001, 1, 1)
RETENTION_DAYS = "400"
MAPPING = Mapping(
    columns={"timestamp": "date"},
    constants={"event": "flight", "country": "US"},
    hashed={"user_id": ["origin", "destination"]},
)

app = typer.Typer(help=__doc__)


@app.command()
def sending(
    flights: Annotated[Path, typer.Argument(help="flights-3m.parquet")],
    events: Annotated[int, typer.Option(help="Messages to simulate.")] = 2_000_000,
) -> None:
    """Send as fast as it goes, three ways, and load the import."""
    with bed.running(MILLRACE_EVENTS_RETENTION_DAYS=RETENTION_DAYS) as stack:
        settings = stack.settings
        for topic in ("bare", "simulated"):
            kafka.ensure_topic(settings, topic)
        alone = bare(settings, "bare", events // 4)
        plan = simulator.Plan(seed=7, rates=faults.rates({}), rate=0, duration=60, total=events)
        began = time.monotonic()
        sent = simulator.run(plan, settings, topic="simulated")
        simulated = sent.sent / (time.monotonic() - began)
        first_day = datetime.now(UTC).date() - timedelta(days=190)
        began = time.monotonic()
        outcome = imports.run(
            Request(flights, MAPPING, settings.events_topic, shift_to=first_day), settings
        )
        imported = outcome.sent / (time.monotonic() - began)
        loaded = bed.load(stack)
        bed.write(
            "sending",
            {
                "producer_alone_messages_per_second": round(alone),
                "simulator_messages_per_second": round(simulated),
                "import_rows_per_second": round(imported),
                "share_of_producer_alone": {
                    "simulator": round(simulated / alone, 2),
                    "import": round(imported / alone, 2),
                },
                "flights": compare(settings, flights, first_day) | {"rows": outcome.found.rows},
                "load": loaded,
            },
        )


def bare(settings: Settings, topic: str, count: int) -> float:
    """Send messages that are ready, and nothing else; return messages a second."""
    now = datetime.now(UTC)
    last = int(now.timestamp() * 1000)
    traffic = Traffic(
        1,
        now.isoformat(),
        faults.rates({"huge": 0.0}),
        message_max_bytes=settings.message_max_bytes,
        retention_days=settings.events_retention_days,
    )
    chunk = traffic.chunk(last - 600_000, last, count, sent_at=now)
    messages: Iterable[tuple[bytes | None, bytes | None]] = list(
        zip(chunk.keys, chunk.values, strict=True)
    )
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 1_000_000})
    began = time.monotonic()
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key=key)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()
    return count / (time.monotonic() - began)


def compare(settings: Settings, path: Path, first_day: date) -> dict[str, Any]:
    """Hold flights and delays per day and airport against pyarrow's own reading of the file."""
    table = pq.read_table(path)
    shift = (first_day - FIRST_DAY).days
    days = pc.add(pc.cast(pc.cast(table["date"], "date32"), "int32"), pa.scalar(shift, "int32"))
    table = table.append_column("day", pc.cast(pc.cast(days, "date32"), "string"))
    grouped = table.group_by(["day", "origin"]).aggregate([("delay", "sum"), ("origin", "count")])
    expected = {
        (row["day"], row["origin"]): (row["origin_count"], row["delay_sum"])
        for row in grouped.to_pylist()
    }
    client = clickhouse.connect(settings)
    found = {
        (day, airport): (flights, delay)
        for day, airport, flights, delay in client.query(
            "SELECT toString(toDate(event_time)), properties['origin'], count(),"
            " sum(toInt64OrZero(properties['delay'])) FROM events"
            " WHERE event_type = 'flight' GROUP BY 1, 2"
        ).result_rows
    }
    client.close()
    return {
        "days_and_airports": len(expected),
        "differences": sum(
            expected.get(key) != found.get(key) for key in expected.keys() | found.keys()
        ),
    }


if __name__ == "__main__":
    app()
