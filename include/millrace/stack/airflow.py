"""Embedded Airflow: api-server, scheduler, dag-processor and triggerer with LocalExecutor."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from millrace.settings import REPOSITORY, Settings
from millrace.stack import postgres
from millrace.stack.server import Server, complete
from millrace.stores.clickhouse import credentials

USER = "admin"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")
POOLS = REPOSITORY / "deploy" / "airflow" / "pools.json"


def servers(settings: Settings) -> list[Server]:
    """Describe Airflow's four processes."""
    folder = settings.home / "airflow"
    program = str(Path(sys.executable).parent / "airflow")
    ports = {"api-server": "airflow", "scheduler": "airflow_scheduler_health"}
    commands = {
        "scheduler": [sys.executable, "-m", "millrace.stack.scheduler", program],
        "triggerer": [program, "triggerer", "--skip-serve-logs"],  # as the scheduler
    }
    return [
        Server(
            name=name,
            command=commands.get(name, [program, name]),
            check=lambda name=name: _check(settings, name),  # type: ignore[misc]
            directory=folder,
            port=settings.port(ports[name]) if name in ports else None,
            addresses={"http": f"http://127.0.0.1:{settings.port(ports[name])}"}
            if name in ports
            else {},
            group="airflow",
            prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
        )
        for name in PROCESSES
    ]


def environment(settings: Settings, secrets: dict[str, str]) -> dict[str, str]:
    """Return Airflow's configuration, tuned for short tasks on a small machine."""
    folder = settings.home / "airflow"
    api_url = f"http://127.0.0.1:{settings.port('airflow')}"
    options: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": REPOSITORY / "dags",
            "plugins_folder": REPOSITORY / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 12,
            "max_active_tasks_per_dag": 12,
            "load_examples": False,
            "dagbag_import_timeout": 120,
            "dags_are_paused_at_creation": False,  # who pauses one later, keeps it paused
            "fernet_key": secrets["MILLRACE_AIRFLOW_FERNET_KEY"],
            "execution_api_server_url": f"{api_url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": folder / "passwords.json",
        },
        "api": {
            "host": "127.0.0.1",
            "port": settings.port("airflow"),
            "base_url": settings.airflow_url,
            "secret_key": secrets["MILLRACE_AIRFLOW_SECRET_KEY"],
            "workers": 1,
        },
        "api_auth": {"jwt_secret": secrets["MILLRACE_AIRFLOW_SECRET_KEY"]},
        "database": {"sql_alchemy_conn": postgres.airflow_url(settings, secrets)},
        "scheduler": {
            "scheduler_idle_sleep_time": 0.5,
            "enable_health_check": True,
            "scheduler_health_check_server_host": "127.0.0.1",
            "scheduler_health_check_server_port": settings.port("airflow_scheduler_health"),
            # A killed scheduler's tasks and runs are picked up soon after it is back.
            "orphaned_tasks_check_interval": 30,
            "task_instance_heartbeat_timeout": 60,
        },
        "dag_processor": {
            "parsing_processes": 1,
            "dag_file_processor_timeout": 180,
            # A file that changed is read at the next refresh, whatever the interval says.
            "min_file_process_interval": 600,
            "refresh_interval": 15,
        },
        "cosmos": {"enable_telemetry": False},
        "logging": {
            "base_log_folder": folder / "logs",
        },
    }
    return {"AIRFLOW_HOME": str(folder)} | {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, values in options.items()
        for key, value in values.items()
    }


def connections(settings: Settings) -> dict[str, str]:
    """Return the Airflow connections to Millrace's servers, for the providers' hooks."""
    clickhouse, postgresql = urlsplit(settings.clickhouse_url), urlsplit(settings.postgres_url)
    user, password = credentials(settings, "operator")
    described: dict[str, dict[str, object]] = {
        "clickhouse_default": {
            "conn_type": "clickhouse",
            "host": clickhouse.hostname,
            "port": clickhouse.port,
            "login": user,
            "password": password,
            "schema": clickhouse.path.lstrip("/"),
            "extra": {"secure": clickhouse.scheme == "https"},
        },
        "postgres_default": {
            "conn_type": "postgres",
            "host": postgresql.hostname,
            "port": postgresql.port,
            "login": postgresql.username,
            "password": postgresql.password or settings.postgres_password.get_secret_value(),
            "schema": postgresql.path.lstrip("/"),
        },
        "kafka_default": {
            "conn_type": "kafka",
            "extra": {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": "airflow",
                "enable.auto.commit": False,
            },
        },
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in described.items()}


def write_password(settings: Settings, secrets: dict[str, str]) -> None:
    """Write the file in which Airflow's SimpleAuthManager looks its passwords up."""
    path = settings.home / "airflow" / "passwords.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({USER: secrets["MILLRACE_AIRFLOW_PASSWORD"]}, file)


def migrate(settings: Settings, environment: dict[str, str]) -> None:
    """Bring Airflow's metadata database to its newest schema, if this Airflow has not yet.

    The version that did it is the database's comment, so that a restored database tells the truth.
    Raises ``StackError`` with the last line of what Airflow said.
    """
    wanted = f"migrated by Airflow {version('apache-airflow-core')}"
    if postgres.airflow_comment(settings) == wanted:
        return
    program = str(Path(sys.executable).parent / "airflow")
    complete([program, "db", "migrate"], "Airflow could not migrate its database", env=environment)
    postgres.set_airflow_comment(settings, wanted)


def api(settings: Settings, secrets: dict[str, str]) -> httpx.Client:
    """Return a client of Airflow's REST API, signed in as the administrator."""
    url = f"http://127.0.0.1:{settings.port('airflow')}"
    answer = httpx.post(
        f"{url}/auth/token",
        json={"username": USER, "password": secrets["MILLRACE_AIRFLOW_PASSWORD"]},
        timeout=30,
    )
    answer.raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=30)


def ensure_pools(client: httpx.Client) -> None:
    """Create the pools that the DAGs name; sizes that someone changed are left alone."""
    known = {pool["name"] for pool in client.get("/pools").raise_for_status().json()["pools"]}
    for name, pool in json.loads(POOLS.read_text()).items():
        if name not in known:
            client.post("/pools", json={"name": name, **pool}).raise_for_status()


def _check(settings: Settings, name: str) -> None:
    url = f"http://127.0.0.1:{settings.port('airflow')}/api/v2/monitor/health"
    health = httpx.get(url, timeout=5).raise_for_status().json()
    part = {"api-server": "metadatabase"}.get(name, name.replace("-", "_"))
    status = health[part]["status"]
    if status != "healthy":
        raise ConnectionError(f"Airflow reports its {name} {status}")
