"""The embedded servers: each serves, and comes back by itself when it is killed."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from rich.console import Console

from millrace.backups import gateway, segments
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack import costs, report
from millrace.stack import kafka as broker
from millrace.stack.server import check_port
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, kafka, objects, postgres


@pytest.mark.parametrize("name", ["postgres", "redis", "kafka", "s3", "clickhouse"])
def test_a_killed_server_comes_back(stack: Stack, name: str) -> None:
    before = stack.pid(name)
    stack.kill(name)
    stack.wait_gone(before)
    stack.wait_healthy(name)
    assert stack.pid(name) != before


def test_a_stopped_server_stays_stopped(stack: Stack) -> None:
    stack.stop("redis")
    with pytest.raises(ConnectionError):
        stack.check("redis")
    stack.start("redis")
    stack.wait_healthy("redis")


def test_kafka_is_formatted_whatever_its_id_begins_with(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))
    prepare = broker.server(settings.model_copy(update={"home": tmp_path})).prepare
    assert prepare is not None
    prepare()
    known = (tmp_path / "kafka" / "data" / "meta.properties").read_text()
    assert "cluster.id=-" in known


def test_topics_and_buckets_exist(settings: Settings) -> None:
    topics = kafka.admin(settings).list_topics(timeout=10).topics
    assert len(topics[settings.events_topic].partitions) == settings.topic_partitions
    assert settings.dead_letter_topic in topics
    names = {bucket.name for bucket in objects.connect(settings).list_buckets()}
    assert {settings.s3_bucket, settings.s3_backup_bucket} <= names


def test_audit_triggers_see_every_writer(settings: Settings) -> None:
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO event_types (event_type, description) VALUES ('audited', 'before')"
        )
        connection.execute(
            "UPDATE event_types SET description = 'after' WHERE event_type = 'audited'"
        )
        connection.execute("DELETE FROM event_types WHERE event_type = 'audited'")
        query = (
            "SELECT action, old_value ->> 'description' AS old, new_value ->> 'description' AS new "
            "FROM audit_logs WHERE table_name = 'event_types' AND row_key = 'audited' "
            "ORDER BY audit_id"
        )
        rows = connection.execute(query).fetchall()
    assert [(row["action"], row["old"], row["new"]) for row in rows] == [
        ("INSERT", None, "before"),
        ("UPDATE", "before", "after"),
        ("DELETE", "after", None),
    ]


def test_secrets_are_private(settings: Settings) -> None:
    for name in ("secrets.env", "supervisord.conf"):
        assert (settings.home / name).stat().st_mode & 0o077 == 0


def test_a_server_that_misses_rows_before_a_bound_is_told(stack: Stack) -> None:
    client = clickhouse.connect(stack.settings)
    client.command(
        "CREATE TABLE last_second_of_an_hour (x UInt8, at DateTime64(3, 'UTC'))"
        " ENGINE = MergeTree ORDER BY (x, at)"
    )
    client.command("INSERT INTO last_second_of_an_hour VALUES (1, '2026-11-25 12:59:59.999')")
    found = [
        client.query(f"SELECT count() FROM last_second_of_an_hour WHERE at < {bound}").first_row[0]
        for bound in (
            "toDateTime('2026-11-25 13:00:00', 'UTC')",
            "toDateTime64('2026-11-25 13:00:00', 3, 'UTC')",
            "'2026-11-25 13:00:00'",
        )
    ]
    client.command("DROP TABLE last_second_of_an_hour SYNC")
    client.close()
    assert found[1:] == [1, 1]
    assert bool(report.warnings(stack.settings)) == (found[0] == 0)


def test_status_as_json_names_every_servers_addresses(stack: Stack) -> None:
    servers = {
        server["name"]: server for server in report.document(report.observe(stack))["servers"]
    }
    port = stack.settings.port
    assert servers["clickhouse"]["addresses"] == {
        "http": f"http://127.0.0.1:{port('clickhouse')}",
        "native": f"clickhouse://127.0.0.1:{port('clickhouse_native')}",
    }
    for name in stack.names("store"):
        assert servers[name]["is_healthy"], servers[name]["health"]
        for address in servers[name]["addresses"].values():
            check_port(int(urlsplit(address if "//" in address else f"//{address}").port or 0))


def test_status_shows_what_cost_clickhouse_the_most(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "build_models")
    monkeypatch.setenv("AIRFLOW_CTX_TASK_ID", "metrics_1min")
    with clickhouse.connect(stack.settings, "dbt", database="default") as client:
        client.command("SELECT max(sipHash64(number)) AS dearest FROM numbers(30000000)")
    console = Console(width=300, record=True, file=io.StringIO())
    for table in costs.tables(stack.settings):
        console.print(table)
    shown = console.export_text()
    assert "SELECT max(sipHash64(number)) AS dearest FROM numbers(30000000)" in shown
    assert "build_models.metrics_1min" in shown


def test_a_bucket_that_several_create_at_once_is_there(stack: Stack) -> None:
    client = objects.connect(stack.settings)
    names = [f"at-once-{number}" for number in range(10)]
    with ThreadPoolExecutor(4) as pool:
        for name in names:
            created = list(pool.map(objects.ensure_bucket, [client] * 4, [name] * 4))
            assert any(created)
    for name in names:
        client.remove_bucket(name)


def test_the_end_of_postgresqls_log_is_in_the_bucket_when_a_stack_is_down(tmp_path: Path) -> None:
    with stacks.running(tmp_path / "home", with_airflow=False) as own:
        for name in ("backup_gateway", "wal_archiver"):
            own.start(name)
            own.wait_healthy(name)
        with postgres.connect(own.settings) as connection:
            connection.execute("INSERT INTO event_types VALUES ('last', 'a test')")
        own.shutdown()
        assert "SIGKILL" not in (own.supervisor.logs / "supervisord.log").read_text()
        own.configure()
        for name in ("s3", "backup_gateway"):
            own.start(name)
            own.wait_healthy(name)
        objects = gateway.connect(own.settings)
        (received,) = (own.settings.home / "wal").glob("*.partial")
        with objects.get_object(gateway.METADATA, f"{segments.FOLDER}/{received.name}.gz") as sent:
            assert gzip.decompress(sent.read()) == received.read_bytes()


@pytest.mark.timeout(300)
def test_what_a_dead_supervisor_left_is_ended_and_the_stack_starts_again(tmp_path: Path) -> None:
    with stacks.running(tmp_path / "home", with_airflow=False) as own:
        names = [name for name in own.servers if own.supervisor.processes()[name]["pid"]]
        pids = {name: own.pid(name) for name in names}
        supervisor = int((own.settings.home / "supervisord.pid").read_text())
        os.kill(supervisor, signal.SIGKILL)
        own.wait_gone(supervisor)
        assert psutil.pid_exists(pids["redis"])  # which overwrites its environment
        onlooker = subprocess.Popen(["sleep", "60"], cwd=own.settings.home)
        said = own.shutdown()
        assert any("redis-server" in text for text in said), said
        assert not [name for name, pid in pids.items() if psutil.pid_exists(pid)]
        assert onlooker.poll() is None
        onlooker.kill()
        onlooker.wait()
        own.configure()
        for name in names:
            own.start(name)
        for name in names:
            own.wait_healthy(name)


def test_a_second_up_says_that_the_first_is_under_way(stack: Stack) -> None:
    home = str(stack.settings.home)
    variables = {"MILLRACE_HOME": home, "MILLRACE_PORT_BASE": str(stack.settings.port_base)}
    with stack.alone():
        for command in ("up", "down"):
            done = subprocess.run(
                [sys.executable, "-m", "millrace.cli", command],
                env=os.environ | variables, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert f"process {os.getpid()} is setting this stack up" in done.stderr
    stack.check("postgres")
