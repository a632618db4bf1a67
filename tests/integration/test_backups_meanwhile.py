"""What changes while a backup, a restore or an erasure waits for others is seen afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from tests.helpers import wait
from tests.integration.erasure_bed import MAIL, holders
from tests.integration.ingest_bed import Bed, event

from millrace.backups import erasure, receipts, restore, warehouse
from millrace.contract import locks
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

USER = 900_031


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with stacks.running(tmp_path_factory.mktemp("meanwhile"), with_airflow=False) as started:
        started.start("backup_gateway")
        started.wait_healthy("backup_gateway")
        yield started.settings


@contextmanager
def waiting_for(settings: Settings, lock: str, work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Have something wait for a lock, which it is given afterwards."""
    query = (
        "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with (
        ThreadPoolExecutor(1) as pool,
        postgres.connect(settings) as other,
        locks.alone(other, lock),
        postgres.connect(settings) as asking,
    ):
        begun = pool.submit(work)
        wait.until(lambda: begun.done() or postgres.one(asking.execute(query))["n"] > 0, timeout=60)
        assert not begun.done()
        yield begun


def test_a_table_that_is_made_while_a_cut_waits_is_in_the_backup(settings: Settings) -> None:
    with (
        waiting_for(
            settings, locks.PUBLICATION, lambda: warehouse.back_up(settings, "a test", is_full=True)
        ) as backing_up,
        clickhouse.connect(settings) as client,
    ):
        client.command("CREATE TABLE late_events AS events")
        client.command(
            "INSERT INTO late_events (event_id, event_time) SELECT generateUUIDv4(), now64(3)"
        )
    kept = {table.name: table.rows for table in backing_up.result(60).tables}
    assert kept["late_events"] == 1
    with clickhouse.connect(settings) as client:
        client.command("DROP TABLE late_events SYNC")


def test_a_source_that_is_new_while_an_erasure_waits_is_searched(settings: Settings) -> None:
    bed = Bed(settings)
    ordered = erasure.order(settings, USER, "a test", "on request")
    with waiting_for(
        settings, locks.DEPLOYMENT, lambda: erasure.carry_out(settings, [ordered])
    ) as erasing:
        config = json.dumps({"fields": {"user_id": "shopper"}})
        bed.ask("UPDATE data_sources SET config = %s WHERE source_id = %s", config, bed.name)
        message = json.dumps({"shopper": USER, "mail": MAIL})
        bed.query(
            "INSERT INTO raw_events (source_id, topic, value, ingested_at) "
            f"SELECT {{source}}, {{source}}, '{message}', now64(3)"
        )
    assert erasing.result(60)["`millrace`.`raw_events`"] == 1
    assert holders(settings) == []


def test_who_is_erased_while_a_restore_waits_is_not_brought_back(settings: Settings) -> None:
    """It waits for the erasure, too, and whoever else would go on with what was read before."""
    bed = Bed(settings)
    bed.send([event(USER, mail=MAIL), event(USER + 1)])
    bed.load()
    entry = warehouse.back_up(settings, "a test", is_full=True)
    with waiting_for(
        settings, locks.DEPLOYMENT, lambda: restore.restore(settings, entry, is_replace=True)
    ) as restoring:
        receipts.keep(settings, [erasure.order(settings, USER, "a test", "on request")])
    restoring.result(60)
    assert holders(settings) == []
    assert bed.count("events") == 1
