"""What ``./millrace up`` says at the end: where to look, with which name and password."""

from __future__ import annotations

from rich.console import Console

from millrace.stack import airflow, clickhouse
from millrace.stack.stack import Stack


def show(stack: Stack, console: Console) -> None:
    """Print the addresses and credentials of a running stack."""
    for name, address, user, password in addresses(stack):
        login = f"  {user} / {password}" if user else ""
        console.print(f"{name:<11} {address}{login}", markup=False)


def addresses(stack: Stack) -> list[tuple[str, str, str, str]]:
    """Return what to open: name, address, user and password (empty where none is asked)."""
    settings, secrets = stack.settings, stack.secrets
    rows = [
        ("Airflow", settings.airflow_url, airflow.USER, secrets["MILLRACE_AIRFLOW_PASSWORD"]),
        (
            "ClickHouse",
            f"http://127.0.0.1:{settings.port('clickhouse')}",
            clickhouse.READER,
            secrets["MILLRACE_CLICKHOUSE_READER_PASSWORD"],
        ),
        (
            "PostgreSQL",
            f"postgresql://127.0.0.1:{settings.port('postgres')}/millrace",
            "millrace",
            secrets["MILLRACE_POSTGRES_PASSWORD"],
        ),
        (
            "S3",
            settings.s3_endpoint,
            settings.s3_access_key.get_secret_value(),
            secrets["MILLRACE_S3_SECRET_KEY"],
        ),
        ("Kafka", settings.kafka_bootstrap_servers, "", ""),
    ]
    return [row for row in rows if row[0].lower() in (*stack.servers, "airflow")]
