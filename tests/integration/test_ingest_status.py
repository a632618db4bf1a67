"""Where ingest stands, as the command line and Prometheus show it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.ingest_bed import Bed, event
from typer.testing import CliRunner

from millrace.cli.main import app
from millrace.ingest import metrics, status
from millrace.ingest.ledger import Ledger
from millrace.ingest.model import Range
from millrace.settings import Settings


@pytest.fixture
def bed(settings: Settings) -> Bed:
    made = Bed(settings, partitions=2)
    made.send(event(u) for u in range(1, 51))
    made.load()
    made.send(event(u) for u in range(51, 61))
    return made


def test_the_status_tells_lag_rates_and_incidents(bed: Bed) -> None:
    (share, *_) = bed.shares()
    ledger = Ledger(bed.settings, share.source, "test")
    ledger.incident("data_loss", Range(1, 5, 9), 0, "for the test")
    ledger.close()

    found = status.read(bed.settings)

    assert sum(p.lag or 0 for p in found.partitions) == 10
    assert [(r["source_id"], r["messages"], r["events"]) for r in found.recent] == [
        (bed.name, 50, 50)
    ]
    assert found.incident_totals[(bed.name, "data_loss")] == 1

    shown = CliRunner().invoke(app, ["ingest", "status"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "50 messages in the last 300 s" in shown.output
    assert "5 to 8" in shown.output


def test_prometheus_can_read_the_metrics(bed: Bed) -> None:
    text = metrics.exposition(bed.settings).decode()
    samples = {
        (sample.name, sample.labels.get("partition") or sample.labels.get("store")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    lags = [samples["millrace_ingest_lag_messages", p] for p in ("0", "1")]
    assert sum(lags) == 10
    assert samples["millrace_up", "postgres"] == samples["millrace_up", "clickhouse"] == 1
    assert samples["millrace_register_ids", None] >= 50


def test_metrics_say_which_store_is_away(bed: Bed) -> None:
    away = bed.settings.model_copy(
        update={"clickhouse_url": "http://millrace@127.0.0.1:9/millrace"}
    )
    text = metrics.exposition(away).decode()
    assert 'millrace_up{store="clickhouse"} 0.0' in text
    assert 'millrace_up{store="postgres"} 1.0' in text
