"""What ``./millrace status`` shows: each server's process, port, health and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import psycopg
from rich.table import Table
from rich.text import Text

from millrace.contract.visible import visible
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse
from millrace.stores.errors import first_line

MISSES_LAST_SECOND = (
    "This ClickHouse can miss rows where a DateTime64 column, such as event_time, is compared with "
    "a DateTime or a whole number.\nIn SQL of your own write now64() for now(), and "
    "toDateTime64('…', 3, 'UTC') or a text for toDateTime('…'): docs/analysts.md, Bounds on times."
)


@dataclass(frozen=True)
class Row:
    """One server as observed; ``memory`` is in bytes, its children's included."""

    name: str
    state: str
    pid: int
    port: int | None
    health: str
    memory: int
    uptime_seconds: int
    addresses: Mapping[str, str]

    @property
    def is_healthy(self) -> bool:
        """Whether the server serves."""
        return self.health == "healthy"


def observe(stack: Stack) -> list[Row]:
    """Look at every server of the stack, all at once."""
    processes = stack.supervisor.processes()

    def look(name: str) -> Row:
        info = processes.get(name, {})
        pid = int(info.get("pid", 0))
        health = "down"
        if pid:
            try:
                stack.check(name)
                health = "healthy"
            except Exception as error:  # noqa: BLE001  each client has its own; people read it
                health = first_line(error, 80)
        return Row(
            name=name,
            state=str(info.get("statename", "stopped")).lower(),
            pid=pid,
            port=stack.servers[name].port,
            health=health,
            memory=memory(pid) if pid else 0,
            uptime_seconds=int(info["now"] - info["start"]) if pid else 0,
            addresses=stack.servers[name].addresses,
        )

    with ThreadPoolExecutor() as pool:
        return list(pool.map(look, stack.servers))


def warnings(settings: Settings) -> list[str]:
    """Return what people who write SQL must know of this ClickHouse server, if anything."""
    return [MISSES_LAST_SECOND] if clickhouse.misses_last_second(settings) else []


def leftovers(stack: Stack, rows: list[Row]) -> list[str]:
    """Return, in words, which views are left on ingest or were taken out of its path.

    Nothing while the servers that know are not there, or were never set up.
    """
    from millrace.transform import leftovers  # only this command needs it

    healthy = {row.name for row in rows if row.is_healthy}
    if not {"clickhouse", "postgres"} <= healthy:
        return []
    try:
        return leftovers.find(stack.settings)
    except psycopg.errors.UndefinedTable:
        return ["the metadata schema is not up to date; ./millrace up brings it there"]


def memory(pid: int) -> int:
    """Return the bytes that a process and its children hold, shared pages counted in part."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    total += process.memory_full_info().pss
                except psutil.AccessDenied:
                    total += process.memory_info().rss
    return total


def document(rows: list[Row]) -> dict[str, list[dict[str, object]]]:
    """Return rows as plain values; memory in bytes, times in seconds."""
    servers: list[dict[str, object]] = [
        {
            "name": row.name,
            "state": row.state,
            "is_healthy": row.is_healthy,
            "health": row.health,
            "pid": row.pid or None,
            "memory_bytes": row.memory,
            "uptime_seconds": row.uptime_seconds,
            "addresses": dict(row.addresses),
        }
        for row in rows
    ]
    return {"servers": servers}


def table(rows: list[Row]) -> Table:
    """Lay rows out as a table with the sum of memory."""
    mib = 1 << 20
    total = f"{sum(row.memory for row in rows) / mib:,.0f} MiB"
    result = Table(show_footer=True, box=None, pad_edge=False)
    result.add_column("server", footer="all")
    for title in ("process", "port"):
        result.add_column(title, justify="right")
    result.add_column("state")
    result.add_column("health")
    result.add_column("up for", justify="right")
    result.add_column("memory", justify="right", footer=total)
    for row in rows:
        result.add_row(
            row.name,
            str(row.pid or "–"),  # noqa: RUF001
            str(row.port or ""),
            row.state,
            Text(visible(row.health), "green" if row.is_healthy else "red"),
            _duration(row.uptime_seconds),
            f"{row.memory / mib:,.0f} MiB" if row.pid else "",
        )
    return result


def _duration(seconds: int) -> str:
    if not seconds:
        return ""
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
