"""The embedded ClickHouse server: how it starts, what it keeps to itself, and what it survives."""

from __future__ import annotations

import stat
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from millrace import waiting
from millrace.lab import engines
from millrace.lab.engines import Engine, launch, running
from millrace.settings import Settings
from millrace.stack import clickhouse
from millrace.stack.clickhouse import takeover
from millrace.stack.server import StackError

CANARY = "canary-in-a-table"
FORMER = Path(__file__).parents[1] / "data" / "former-engine" / "clickhouse.tar.xz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server"


def make_events(engine: Engine, rows: int = 1000) -> None:
    engine.text("CREATE DATABASE IF NOT EXISTS millrace", database="default")
    engine.text("CREATE TABLE events (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
    engine.text(f"INSERT INTO events SELECT number, '{CANARY}' FROM numbers({rows})")


def test_what_was_acknowledged_survives_a_kill_and_a_good_end(folder: Path) -> None:
    with running(folder) as engine:
        make_events(engine)
    with running(folder) as engine:  # it was killed
        assert engine.text("SELECT count(), sum(id) FROM events") == "1000\t499500"
        engine.text("INSERT INTO events SELECT number, '' FROM numbers(5)")
        assert engine.terminate() == 0
    with running(folder) as engine:
        assert engine.text("SELECT count() FROM events") == "1005"


def test_a_good_end_waits_for_answers_and_not_for_idle_clients(folder: Path) -> None:
    slow = "SELECT sum(sleepEachRow(1)) + count() FROM numbers(3)"
    with running(folder) as engine, ThreadPoolExecutor() as pool:
        engine.text("CREATE DATABASE millrace", database="default")
        with engine.client() as idle:
            assert idle.query("SELECT 1").first_row == (1,)
            answer = pool.submit(engine.text, slow)
            running_now = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(%'"
            waiting.until(
                lambda: engine.text(running_now) == "1", "the statement to run", seconds=60
            )
            assert engine.terminate() == 0
            assert answer.result() == "3"


def test_a_kill_forgets_no_deduplication_token(folder: Path) -> None:
    insert = "INSERT INTO tokens SELECT 1"
    with running(folder) as engine:
        engine.text("CREATE DATABASE millrace", database="default")
        engine.text(
            "CREATE TABLE tokens (id UInt64) ENGINE = MergeTree ORDER BY id "
            "SETTINGS non_replicated_deduplication_window = 10"
        )
        engine.text(insert, insert_deduplication_token="first")
        engine.kill()
    with running(folder) as engine:
        engine.text(insert, insert_deduplication_token="first")
        assert engine.text("SELECT count() FROM tokens") == "1"
        engine.text(insert, insert_deduplication_token="second")
        assert engine.text("SELECT count() FROM tokens") == "2"


def test_nothing_of_a_table_lies_readable_on_the_disk(folder: Path) -> None:
    with running(folder) as engine:
        make_events(engine)
        engine.text("CREATE NAMED COLLECTION held AS secret = 'canary-in-a-collection'")
        engine.text("OPTIMIZE TABLE events FINAL")
        assert engine.terminate() == 0
    held = [path for path in folder.rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if b"canary" in path.read_bytes()]


def test_configuration_is_gone_once_it_serves_and_folders_are_closed_to_others(
    folder: Path,
) -> None:
    with running(folder):
        # It answers a moment before the process that started it sees that.
        waiting.until(lambda: not list(folder.glob("*.xml")), "no configuration", seconds=60)
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


def test_files_outside_its_folder_are_out_of_reach_of_everybody(folder: Path) -> None:
    secrets = folder.with_name("server.env")
    with running(folder) as engine:
        engine.text("CREATE DATABASE IF NOT EXISTS analytics", database="default")
        for path in (secrets, "/etc/passwd", "/proc/self/environ", "/proc/self/mem", "/etc/shadow"):
            for account in ("millrace", "reader"):
                answer = engine.ask(f"SELECT file('{path}')", account, database="default")
                assert answer.status_code != 200, (path, account)
                assert "Permission denied" in answer.text or "ACCESS_DENIED" in answer.text


def test_times_without_a_zone_are_utc_wherever_the_machine_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    with running(folder) as engine:
        times = engine.text("SELECT timezone(), toDateTime(0)", database="default")
        assert times == "UTC\t1970-01-01 00:00:00"


def test_the_allocator_keeps_large_columns_for_the_next_statement(engine: Engine) -> None:
    assert "opt.oversize_threshold: 0\\n" in engine.text("SELECT * FROM system.jemalloc_stats")


def test_nobody_is_default_after_the_start(folder: Path) -> None:
    with running(folder) as engine:
        for password in ("", "default", engines.KEY):
            with pytest.raises(DatabaseError, match="Authentication failed"):
                engine.client(username="default", password=password, database="default")


def test_a_second_process_on_the_same_folder_is_told_who_has_it(folder: Path) -> None:
    with running(folder) as engine:
        second = launch(folder)
        assert second.process.wait(60) == 1
        assert f"in use by process {engine.process.pid}" in second.log.read_text()


def test_a_server_that_cannot_start_says_why_in_one_sentence(folder: Path) -> None:
    second = launch(folder, key="not a key")
    assert second.process.wait(60) == 1
    assert "MILLRACE_CLICKHOUSE_KEY" in second.log.read_text()
    assert "Traceback" not in second.log.read_text()


def test_a_lost_or_changed_key_is_noticed_before_the_start(tmp_path: Path) -> None:
    clickhouse.check_key(tmp_path, {clickhouse.KEY: "a" * 32})
    clickhouse.check_key(tmp_path, {clickhouse.KEY: "a" * 32})
    with pytest.raises(StackError, match=r"lost or changed.*secrets\.env.*millrace restore"):
        clickhouse.check_key(tmp_path, {clickhouse.KEY: "b" * 32})


def test_statements_are_found_killed_and_logged(engine: Engine) -> None:
    client = engine.client()
    client.command("SELECT 1", settings={"log_comment": "build_models.metrics"})
    slow = subprocess.Popen(
        ["curl", "--silent", "--user", f"millrace:{engines.password('millrace')}",
         f"{engine.url}?query_id=slow", "--data-binary", "SELECT sleep(3) FROM numbers(100)"
         " SETTINGS max_block_size = 1"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    from millrace import waiting

    # Killed before it reads, a statement is listed, and yet runs on.
    reads = "SELECT count() FROM system.processes WHERE query_id = 'slow' AND read_rows > 0"
    waiting.until(lambda: client.command(reads), "the statement to read", seconds=60)
    client.command("KILL QUERY WHERE query_id = 'slow' SYNC")
    assert b"QUERY_WAS_CANCELLED" in slow.communicate(timeout=60)[0]
    client.command("SYSTEM FLUSH LOGS")
    logged = "SELECT count() FROM system.query_log WHERE log_comment = 'build_models.metrics'"
    assert int(client.command(logged)) > 0


@pytest.fixture
def former(folder: Path) -> Iterator[Engine]:
    """The new server over a folder that the former engine wrote, before anything was moved."""
    with tarfile.open(FORMER) as archive:
        archive.extractall(folder.parent, filter="data")
    (folder.parent / "clickhouse").rename(folder)
    with running(folder) as engine:
        yield engine


def test_a_folder_of_the_former_engine_is_taken_over_without_loss(
    former: Engine, folder: Path
) -> None:
    events = "SELECT count(), uniqExact(event_id), sum(user_id) FROM events"
    assert takeover.is_former(folder)
    assert former.text(events) == "1500\t1500\t374250"
    takeover.run(Settings(home=folder.parent, clickhouse_url=former.settings_url), folder)
    assert not takeover.is_former(folder)
    assert former.terminate() == 0
    assert not [p for p in folder.rglob("*.bin") if b"CANARY" in p.read_bytes()]
    with running(folder) as engine:
        assert engine.text(events) == "1500\t1500\t374250"
        assert engine.text("SELECT count(), uniqExact(offset) FROM raw_events") == "1500\t1500"
        assert engine.text("SELECT sum(events) FROM analytics.per_type") == "1500"
        # The view still feeds its rollup, and a plain view answers who may read it.
        engine.text(
            "INSERT INTO events (event_id, event_time, event_type, user_id) "
            "VALUES (generateUUIDv4(), '2090-01-04 00:00:00', 'late', 1)"
        )
        assert engine.text("SELECT sum(events) FROM analytics.per_type") == "1501"
        assert engine.text("SELECT count() FROM types", "reader") == "2"
        disks = "SELECT DISTINCT disk_name FROM system.parts WHERE database != 'system'"
        assert engine.text(disks) == "encrypted"


def test_home_and_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    from millrace.lab import stacks
    from millrace.stack.stack import Stack

    with stacks.variables({"MILLRACE_HOME": str(tmp_path / "home")}):
        Stack(with_airflow=False)
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "secrets.env").stat().st_mode) == 0o600
