"""What is looked at before a stack starts, so that a lack shows as one clear sentence."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from millrace.stack.server import StackError
from millrace.stack.stack import Stack

DISK_BYTES = 3 << 30
MEMORY_BYTES = 3 << 30


def check_machine(stack: Stack) -> None:
    """Raise ``StackError`` when the machine can't take the servers that do not run yet."""
    running = {
        name for name, info in stack.supervisor.processes().items() if int(info.get("pid", 0))
    }
    check_disk(stack.settings.home)
    if not running:
        check_memory()
    wanted = [
        (name, port)
        for name, server in stack.servers.items()
        if name not in running
        for port in server.ports
    ]
    check_ports_are_free(wanted, stack.settings.port_base)


def check_disk(folder: Path, needed: int = DISK_BYTES) -> None:
    """Raise ``StackError`` unless ``needed`` bytes are free where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StackError(
            f"{folder} has {free / 2**30:.1f} GiB of disk left and Millrace wants "
            f"{needed / 2**30:.0f} GiB.\n"
            "Free some, or set MILLRACE_HOME to a folder on a larger disk."
        )


def check_memory(needed: int = MEMORY_BYTES) -> None:
    """Raise ``StackError`` unless ``needed`` bytes of memory are available."""
    available = psutil.virtual_memory().available
    if available < needed:
        raise StackError(
            f"{available / 2**30:.1f} GiB of memory are available and the stack wants "
            f"{needed / 2**30:.0f} GiB.\nStop other programs (or another stack: ./millrace down) "
            "and run the command again."
        )


def check_ports_are_free(wanted: Iterable[tuple[str, int]], base: int) -> None:
    """Raise ``StackError`` naming every port in use, which server needs it, and who listens."""
    taken = [
        f"port {port}, which {server} needs, is in use by {_owner(port)}"
        for server, port in wanted
        if _is_taken(port)
    ]
    if taken:
        raise StackError(
            "\n".join(taken)
            + f"\nStop that, or choose other ports: MILLRACE_PORT_BASE={base + 1000} ./millrace up"
        )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _owner(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,):
            if connection.pid is None:
                break
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another user's program"
