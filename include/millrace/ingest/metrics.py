"""Ingest's metrics for Prometheus, collected when asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from millrace.ingest import status
from millrace.settings import Settings


class IngestCollector(Collector):
    """Reads the ledger and the warehouse at every scrape; ``millrace_up`` says which answered."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        up = GaugeMetricFamily("millrace_up", "Whether a store answered.", labels=["store"])
        try:
            yield from self._ledger()
            up.add_metric(["postgres"], 1)
        except psycopg.OperationalError:
            up.add_metric(["postgres"], 0)
        try:
            yield from self._warehouse()
            up.add_metric(["clickhouse"], 1)
        except (ClickHouseError, OSError):
            up.add_metric(["clickhouse"], 0)
        yield up

    def _ledger(self) -> Iterator[Metric]:
        found = status.read(self.settings)
        place = ["source", "topic", "partition"]
        lag = GaugeMetricFamily(
            "millrace_ingest_lag_messages", "Offsets in Kafka not yet claimed.", labels=place
        )
        claimed = CounterMetricFamily(
            "millrace_ingest_claimed_offset", "First offset not yet claimed.", labels=place
        )
        held = GaugeMetricFamily(
            "millrace_ingest_partition_held", "Whether a worker owns it.", labels=place
        )
        age = GaugeMetricFamily(
            "millrace_ingest_reached_age_seconds",
            "Age of the last message claimed, by Kafka's timestamp.",
            labels=place,
        )
        now = datetime.now(UTC)
        for p in found.partitions:
            labels = [p.source_id, p.topic, str(p.partition)]
            claimed.add_metric(labels, p.next_offset)
            held.add_metric(labels, p.is_held)
            if p.lag is not None:
                lag.add_metric(labels, p.lag)
            if p.reached_at is not None:
                age.add_metric(labels, (now - p.reached_at).total_seconds())
        yield from (lag, claimed, held, age)
        yield from self._recent(found)
        incidents = CounterMetricFamily(
            "millrace_ingest_incidents", "Incidents by kind.", labels=["source", "kind"]
        )
        for (source, kind), count in found.incident_totals.items():
            incidents.add_metric([source, kind], count)
        yield incidents

    def _recent(self, found: status.IngestStatus) -> Iterator[Metric]:
        names = {
            "messages": ("millrace_ingest_messages_per_second", "Messages loaded a second"),
            "events": ("millrace_ingest_events_per_second", "Events published a second"),
            "rejected": ("millrace_ingest_rejected_per_second", "Messages rejected a second"),
            "bytes": ("millrace_ingest_bytes_per_second", "Bytes of values loaded a second"),
        }
        window = status.RECENT_SECONDS
        for key, (name, what) in names.items():
            family = GaugeMetricFamily(name, f"{what}, over {window} s.", labels=["source"])
            for row in found.recent:
                family.add_metric([row["source_id"]], row[key] / window)
            yield family
        load = GaugeMetricFamily(
            "millrace_ingest_batch_load_seconds",
            f"Mean time from claim to completion of a micro-batch, over {window} s.",
            labels=["source"],
        )
        opened = GaugeMetricFamily(
            "millrace_ingest_open_batches", "Claimed and not completed.", labels=["source"]
        )
        for row in found.recent:
            opened.add_metric([row["source_id"]], row["open_batches"])
            if row["load_seconds"] is not None:
                load.add_metric([row["source_id"]], row["load_seconds"])
        yield from (load, opened)

    def _warehouse(self) -> Iterator[Metric]:
        totals = status.warehouse_totals(self.settings)
        for kind, what in (("rows", "Rows"), ("bytes", "Bytes on disk"), ("parts", "Parts")):
            family = GaugeMetricFamily(
                f"millrace_warehouse_table_{kind}", f"{what} of a base table.", labels=["table"]
            )
            for name, value in totals.items():
                table, _, suffix = name.rpartition("_")
                if suffix == kind and table != "register":
                    family.add_metric([table], value)
            yield family
        for name, what in (("ids", "Event ids held"), ("bytes", "Memory")):
            yield GaugeMetricFamily(
                f"millrace_register_{name}",
                f"{what} of the register for duplicate detection.",
                value=totals.get(f"register_{name}", 0),
            )


def exposition(settings: Settings) -> bytes:
    """Return every metric in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(IngestCollector(settings))
    return generate_latest(registry)
