"""A server that is slow for one is not taken for one that is away."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import pytest

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.warehouse import Warehouse, WarehouseAwayError
from millrace.settings import Settings

CONTENT = b'{"data": [[1]], "statistics": {"rows_read": 1, "bytes_read": 1, "elapsed": 0.1}}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
ADA = Principal("ada", "viewer")


async def answer_one_connection(server: socket.socket, until: asyncio.Event) -> None:
    """Answer every request of the first connection, and let nobody else in."""
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(server)
    reader, writer = await asyncio.open_connection(sock=connection)
    while not until.is_set():
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(REPLY)
    writer.close()


async def crowded() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        server.setblocking(False)
        port = server.getsockname()[1]
        warehouse = Warehouse(Settings(clickhouse_url=f"http://127.0.0.1:{port}"))
        is_over = asyncio.Event()
        answering = asyncio.create_task(answer_one_connection(server, is_over))
        await warehouse.start()
        assert (await warehouse.ask("SELECT 1", whose=ADA)).rows == [[1]]
        for _ in range(4):  # nobody else can connect from now on
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))

        async def be_answered() -> None:
            while not second.done():
                await warehouse.ask("SELECT 1", whose=ADA)

        first = asyncio.create_task(warehouse.ask("SELECT 1", whose=ADA))
        second = asyncio.create_task(warehouse.ask("SELECT 1", whose=ADA))
        await first
        await be_answered()
        with pytest.raises(ProblemError) as refused:
            await second
        assert (refused.value.status, refused.value.code) == (503, "busy")
        is_over.set()
        await warehouse.ask("SELECT 1", whose=ADA)
        await answering
        server.close()
        with pytest.raises(WarehouseAwayError):
            await warehouse.ask("SELECT 1", whose=ADA)
        await warehouse.stop()


@pytest.mark.slow
def test_who_is_not_let_in_while_others_are_answered_is_told_to_come_again() -> None:
    asyncio.run(crowded())
