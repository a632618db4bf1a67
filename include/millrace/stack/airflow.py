"""Embedded Airflow: api-server, scheduler, dag-processor and triggerer with LocalExecutor."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
from dotenv import dotenv_values

from millrace import waiting
from millrace.settings import REPOSITORY, Settings
from millrace.stack import postgres
from millrace.stack.server import Server, StackError, complete

USER = "admin"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")
POOLS = REPOSITORY / "deploy" / "airflow" / "pools.json"
SHARED = REPOSITORY / "deploy" / "airflow" / "airflow.env"


def servers(settings: Settings) -> list[Server]:
    """Describe Airflow's four processes."""
    folder = settings.home / "airflow"
    program = str(Path(sys.executable).parent / "airflow")
    ports = {"api-server": "airflow", "scheduler": "airflow_scheduler_health"}
    leaving = [sys.executable, "-m", "millrace.stack.leaving", program]
    commands = {
        "scheduler": [sys.executable, "-m", "millrace.stack.scheduler", program],
        "triggerer": [*leaving, "triggerer", "--skip-serve-logs"],  # as the scheduler
    }
    return [
        Server(
            name=name,
            command=commands.get(name, [*leaving, name]),
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
    """Return Airflow's configuration: what every deployment has, and this one's places."""
    folder = settings.home / "airflow"
    api_url = f"http://127.0.0.1:{settings.port('airflow')}"
    options: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": REPOSITORY / "dags",
            "plugins_folder": REPOSITORY / "plugins",
            "fernet_key": secrets["MILLRACE_AIRFLOW_FERNET_KEY"],
            "execution_api_server_url": f"{api_url}/execution/",
            "simple_auth_manager_passwords_file": folder / "passwords.json",
        },
        "api": {
            "host": "127.0.0.1",
            "port": settings.port("airflow"),
            "base_url": settings.airflow_url,
            "secret_key": secrets["MILLRACE_AIRFLOW_SECRET_KEY"],
        },
        "api_auth": {"jwt_secret": secrets["MILLRACE_AIRFLOW_SECRET_KEY"]},
        "database": {"sql_alchemy_conn": postgres.airflow_url(settings, secrets)},
        "scheduler": {
            "scheduler_health_check_server_host": "127.0.0.1",
            "scheduler_health_check_server_port": settings.port("airflow_scheduler_health"),
        },
        "cosmos": {"cache_dir": folder / "cosmos"},
        "logging": {"base_log_folder": folder / "logs"},
    }
    places = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, values in options.items()
        for key, value in values.items()
    }
    shared = {name: value or "" for name, value in dotenv_values(SHARED).items()}
    return {"AIRFLOW_HOME": str(folder)} | shared | places


def write_password(settings: Settings, secrets: dict[str, str]) -> None:
    """Write the file of passwords: the administrator's, and the query API's account's."""
    path = settings.home / "airflow" / "passwords.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        query = settings.airflow_query_password.get_secret_value()
        passwords = {USER: secrets["MILLRACE_AIRFLOW_PASSWORD"]}
        json.dump(passwords | {settings.airflow_query_user: query}, file)


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


def show_models(client: httpx.Client) -> None:
    """Have Airflow read the file of ``build_models`` until it shows a task for a deployed model.

    It would read it by itself when the file has changed, which it has not. A request that comes
    during a reading is lost, and that reading may have begun before the deployment. Raises
    ``StackError`` when the tasks don't appear.
    """
    dag = "/dags/build_models"

    def shows() -> bool:
        answer = client.get(f"{dag}/tasks")
        if answer.status_code == httpx.codes.NOT_FOUND:  # not read at all yet
            return False
        tasks = answer.raise_for_status().json()["tasks"]
        if any(task["task_id"].startswith("models.") for task in tasks):
            return True
        token = client.get(dag).raise_for_status().json()["file_token"]
        asked = client.put(f"/parseDagFile/{token}")
        if asked.status_code != httpx.codes.CONFLICT:  # asked already
            asked.raise_for_status()
        return False

    waiting.until(
        shows,
        "Airflow to show the tasks of the dbt models",
        seconds=180,
        every=1,
        hint="the log of dag-processor says whether dags/build_models.py can be read",
        error=StackError,
    )


def _check(settings: Settings, name: str) -> None:
    url = f"http://127.0.0.1:{settings.port('airflow')}/api/v2/monitor/health"
    health = httpx.get(url, timeout=5).raise_for_status().json()
    part = {"api-server": "metadatabase"}.get(name, name.replace("-", "_"))
    status = health[part]["status"]
    if status != "healthy":
        raise ConnectionError(f"Airflow reports its {name} {status}")
