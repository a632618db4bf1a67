"""What ``./millrace up`` says at the end: where to look, with which name and password."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from millrace.access import passwords, users
from millrace.contract.visible import visible
from millrace.lab.first_look import FirstLook
from millrace.lab.simulate.manifest import Manifest
from millrace.settings import Settings
from millrace.stack import airflow, report
from millrace.stack.stack import Stack
from millrace.stores import clickhouse as clickhouse_store
from millrace.stores import postgres, sql

INGEST_KEY = "Ingest key"


def show(look: FirstLook, console: Console) -> None:
    """Print what the warehouse holds, and the addresses and credentials to look further."""
    stack = look.stack

    def rows(name: str) -> Sequence[Sequence[Any]]:
        with clickhouse_store.connect(stack.settings, "operator") as client:
            return client.query(sql.render(f"clickhouse/stack/{name}.sql")).result_rows

    loaded, rejected = rows("totals")[0]
    console.print()
    if look.ages:
        sent = Manifest.read(look.path).sent
        console.print(f"[bold]{sent:,}[/] simulated messages were sent to Kafka.")
        console.print(
            f"Freshness: the newest event was [bold]{look.freshness:.2f} s[/] old (median)."
        )
    else:
        console.print("No traffic was sent this time: this stack has seen some before.")
    console.print(
        f"Held are [bold]{loaded:,}[/] events and [bold]{rejected:,}[/] rejected messages:"
    )
    for reason, count in rows("rejections"):
        console.print(f"  {count:>8,}  {reason}")
    pages = rows("top_pages")
    if pages:
        console.print(f"Most viewed pages in the minute of {pages[0][2]:%Y-%m-%d %H:%M} UTC:")
    for page, views, _minute in pages:
        console.print(f"  {views:>8,}  {visible(page)}", markup=False)
    console.print()
    for line in logins(addresses(stack), stack.settings, is_terminal=console.is_terminal):
        console.print(line, markup=False)
    for warning in report.warnings(stack.settings):
        console.print(f"\n[yellow]{warning}")
    console.print("\n[bold]What next?")
    for aim, how in next_steps(stack.settings):
        console.print(f"  {aim:<18} {how}", markup=False)


def logins(
    rows: Sequence[tuple[str, str, str, str]], settings: Settings, *, is_terminal: bool
) -> list[str]:
    """Return the lines that say how to get in; secrets only where a person reads along.

    What is piped, or run by a service manager, ends in a log.
    """
    kept = f"in {settings.home}/secrets.env"
    lines = []
    for name, address, user, password in rows:
        secret = name == INGEST_KEY and not is_terminal
        place = f"MILLRACE_INGEST_KEY {kept}" if secret else address
        login = f"  {user} / {password if is_terminal else kept}" if user else ""
        lines.append(f"{name:<11} {place}{login}")
    return lines


def next_steps(settings: Settings) -> list[tuple[str, str]]:
    """Return what a newcomer may do now: the aim, and what to type or open."""
    event = '{"event": "page_view", "user_id": 42, "page": "/hello"}'
    query = "SELECT * FROM page_views_1min WHERE page = '/hello'"
    return [
        ("send an event", f"./millrace send '{event}'"),
        ("see it counted", f'./millrace sql "{query}"'),
        ("import a file", "./millrace import FILE (docs/importing.md)"),
        ("send more traffic", "./millrace simulate"),
        ("look around", f"{settings.airflow_url}: DAGs, and Browse, Data quality"),
        ("back up now", "./millrace backups run (else hourly, PostgreSQL nightly)"),
        (
            "keep a copy",
            f"of MILLRACE_BACKUP_KEY in {settings.home}/secrets.env, elsewhere: without it "
            "no backup can be read",
        ),
        ("read on", "docs/index.md"),
    ]


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
        *_query_api(stack),
        (INGEST_KEY, secrets["MILLRACE_INGEST_KEY"], "", ""),
    ]
    elsewhere = {"clickhouse", "postgres", "s3", "kafka"} - set(stack.servers)
    return [row for row in rows if not row[0].lower().startswith(tuple(elsewhere))]


def _query_api(stack: Stack) -> list[tuple[str, str, str, str]]:
    """Return where people sign in; with the first admin's password while that still opens."""
    if "query-api" not in stack.servers:
        return []
    password = stack.secrets["MILLRACE_ADMIN_PASSWORD"]
    with postgres.connect(stack.settings) as connection:
        opens = passwords.verify(users.password_hash(connection, users.FIRST), password)
    return [
        ("Query API", stack.settings.query_url, *((users.FIRST, password) if opens else ("", "")))
    ]
