"""What ``./millrace up`` says at the end: where to look, with which name and password."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from millrace.lab.first_look import FirstLook
from millrace.lab.simulate.manifest import Manifest
from millrace.stack import airflow, report
from millrace.stack.stack import Stack
from millrace.stores import clickhouse as clickhouse_store
from millrace.stores import sql


def show(look: FirstLook, console: Console) -> None:
    """Print what the warehouse holds, and the addresses and credentials to look further."""
    stack = look.stack

    def rows(name: str) -> Sequence[Sequence[Any]]:
        with clickhouse_store.connect(stack.settings, "operator") as client:
            return client.query(sql.render(f"clickhouse/stack/{name}.sql")).result_rows

    loaded, rejected = rows("totals")[0]
    console.print()
    if look.path.exists():
        sent = Manifest.read(look.path).sent
        console.print(f"[bold]{sent:,}[/] simulated messages were sent to Kafka.")
    console.print(f"[bold]{loaded:,}[/] events loaded, [bold]{rejected:,}[/] messages rejected:")
    for reason, count in rows("rejections"):
        console.print(f"  {count:>8,}  {reason}")
    if look.freshness is not None:
        console.print(
            f"Freshness: the newest event was [bold]{look.freshness:.2f} s[/] old (median)."
        )
    console.print("Most viewed pages of the last minute:")
    for page, views in rows("top_pages"):
        console.print(f"  {views:>8,}  {page}", markup=False)
    console.print()
    for name, address, user, password in addresses(stack):
        login = f"  {user} / {password}" if user else ""
        console.print(f"{name:<11} {address}{login}", markup=False)
    for warning in report.warnings(stack.settings):
        console.print(f"\n[yellow]{warning}")


def addresses(stack: Stack) -> list[tuple[str, str, str, str]]:
    """Return what to open: name, address, user and password (empty where none is asked)."""
    settings, secrets = stack.settings, stack.secrets
    rows = [
        ("Airflow", settings.airflow_url, airflow.USER, secrets["MILLRACE_AIRFLOW_PASSWORD"]),
        (
            "ClickHouse",
            f"http://127.0.0.1:{settings.port('clickhouse')}",
            "reader",
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
    elsewhere = {"clickhouse", "postgres", "s3", "kafka"} - set(stack.servers)
    return [row for row in rows if not row[0].lower().startswith(tuple(elsewhere))]
