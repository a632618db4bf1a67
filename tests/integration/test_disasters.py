"""Both stores are lost under load, restored with the documented commands: nothing is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from rich.console import Console

from millrace.backups.gateway import BackupError
from millrace.lab import stacks
from millrace.lab.chaos import campaign, disaster
from millrace.lab.simulate import faults, send
from millrace.lab.verify import conservation, simulation
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, kafka
from millrace.usecases import drill


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, with what makes backups."""
    home = tmp_path_factory.mktemp("disasters")
    with stacks.running(home, with_airflow=False, **campaign.ENVIRONMENT) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
            started.wait_healthy(name)
        yield started


@pytest.mark.timeout(400)
def test_nothing_is_lost_when_both_stores_are_destroyed_under_load(stack: Stack) -> None:
    settings = stack.settings
    with disaster.under_load(stack, rate=1000, seed=8) as load:
        load.await_messages(3000)
        disaster.millrace(settings, "backups", "run")
        load.await_messages(2000)
        disaster.millrace(settings, "backups", "run")  # the increment
        load.await_messages(3000)
        disaster.destroy(stack, "clickhouse", "postgres")
        said = disaster.millrace(settings, "restore")
        assert "from 2 backups" in said
        load.await_messages(3000)
        sent = load.finish()
        reports = [
            simulation.verify(sent, settings, wait_seconds=120),
            conservation.verify(settings, wait_seconds=120),
        ]
    for report in reports:
        report.print(Console())
    assert sent.sent > 11_000
    assert sum(report.differences for report in reports) == 0


def test_verify_knows_what_was_erased_and_still_sees_a_gap(stack: Stack) -> None:
    settings = stack.settings
    with clickhouse.connect(settings) as client:
        user = int(client.command("SELECT any(user_id) FROM events WHERE user_id > 0"))
        before = client.command("SELECT count() FROM raw_events")
        disaster.millrace(settings, "backups", "erase", str(user), "--reason", "a test", "--yes")
        assert client.command("SELECT count() FROM raw_events") < before
        report = conservation.verify(settings, wait_seconds=30)
        assert report.differences == 0
        assert report.check("events: what was erased is gone").compared != "0 positions"
        (partition, offset), *_ = client.query(
            "SELECT partition, offset FROM raw_events WHERE offset > 10 LIMIT 1"
        ).result_rows
        where = f"partition = {partition} AND offset = {offset}"
        for table in ("raw_events", "events", "rejected_events"):
            client.command(
                f"ALTER TABLE {table} DELETE WHERE {where}", settings={"mutations_sync": 2}
            )
        client.command(
            "INSERT INTO raw_events (topic, partition, offset, ingested_at) SELECT topic, "
            "partition, offset, now64(3) FROM erased_positions LIMIT 1"
        )
    report = conservation.verify(settings, wait_seconds=1)
    gaps = report.check("events: raw_events has no gap").differences
    assert [gap.what for gap in gaps] == [f"events/{partition}@{offset}"]
    assert len(report.check("events: what was erased is gone").differences) == 1


@pytest.mark.timeout(400)
def test_the_drill_counts_what_waits_in_kafka_and_sees_what_is_gone(stack: Stack) -> None:
    settings = stack.settings
    plan = send.Plan(seed=9, rates=faults.rates({}), rate=0, duration=1, total=2000)
    send.run(plan, settings, topic=settings.events_topic)  # nobody is there to load them
    report = drill.run(settings)
    said = {what: result for what, result, _ in report.steps}
    found = re.match(r"([\d,]+) messages since", said["resume ingest from Kafka"])
    assert found is not None
    assert int(found[1].replace(",", "")) > 5000
    assert "none missing, none twice" in said["resume ingest from Kafka"]

    proved = "SELECT argMax(value, timestamp) FROM pipeline_metrics WHERE metric_name = "
    proved += "'millrace_restore_drill_success' AND dimensions['kind'] = '{}'"
    with clickhouse.connect(settings) as client:
        assert client.command(proved.format("warehouse")) == 1
        assert client.command(proved.format("metadata")) == 1
    admin = kafka.admin(settings)
    topic = admin.list_topics(settings.events_topic).topics[settings.events_topic]
    emptied = [TopicPartition(topic.topic, number, -1) for number in topic.partitions]  # the end
    for future in admin.delete_records(emptied).values():
        future.result()
    with pytest.raises(BackupError, match="can't be read from the backup's position"):
        drill.run(settings)
    with clickhouse.connect(settings) as client:
        assert client.command(proved.format("warehouse")) == 0
        assert client.command(proved.format("metadata")) == 1
        client.command("TRUNCATE TABLE pipeline_metrics")
    with pytest.raises(BackupError, match="the alert backup_late is blind"):
        drill.run(settings)
