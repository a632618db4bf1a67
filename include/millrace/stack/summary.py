"""What ``./millrace up`` says at the end: where to look, with which name and password."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from millrace.stack import airflow, clickhouse
from millrace.stack.stack import Stack


def show(stack: Stack, console: Console) -> None:
    """Print the addresses and credentials of a running stack."""
    console.print(addresses(stack))


def addresses(stack: Stack) -> Table:
    """Lay out what to open, and with which credentials."""
    settings, secrets = stack.settings, stack.secrets
    table = Table(box=None, pad_edge=False)
    for title in ("open", "address", "user", "password"):
        table.add_column(title, no_wrap=True)
    table.add_row(
        "Airflow", settings.airflow_url, airflow.USER, secrets["MILLRACE_AIRFLOW_PASSWORD"]
    )
    port = settings.port("clickhouse")
    if "clickhouse" in stack.servers:
        table.add_row(
            "ClickHouse",
            f"http://127.0.0.1:{port}",
            clickhouse.READER,
            secrets["MILLRACE_CLICKHOUSE_READER_PASSWORD"],
        )
    if "postgres" in stack.servers:
        table.add_row(
            "PostgreSQL",
            f"postgresql://127.0.0.1:{settings.port('postgres')}/millrace",
            "millrace",
            secrets["MILLRACE_POSTGRES_PASSWORD"],
        )
    if "s3" in stack.servers:
        table.add_row(
            "S3",
            settings.s3_endpoint,
            settings.s3_access_key.get_secret_value(),
            secrets["MILLRACE_S3_SECRET_KEY"],
        )
    if "kafka" in stack.servers:
        table.add_row("Kafka", settings.kafka_bootstrap_servers, "", "")
    return table
