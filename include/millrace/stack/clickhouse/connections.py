"""Clients' connections to the server in this process, when it is to stop."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Collection

MOST_FILES = 1 << 16
"""How many file numbers to look at; the kernel gives the lowest that is free."""
IDLE_MILLISECONDS = 200
LAST_DATA_RECEIVED = struct.Struct("8x44xI")
"""Where ``tcp_info`` of Linux has the milliseconds since data came (linux/tcp.h)."""


def hang_up(ports: Collection[int]) -> None:
    """End reading from connections to ``ports`` on which nothing comes any more.

    A server that stops waits five seconds for its connections, and clients keep theirs open for the
    next request. An answer that is under way is sent all the same.
    """
    for number in range(3, MOST_FILES):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                connection.getpeername()
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                (quiet,) = LAST_DATA_RECEIVED.unpack_from(info)
                if connection.getsockname()[1] in ports and quiet >= IDLE_MILLISECONDS:
                    connection.shutdown(socket.SHUT_RD)
        except OSError:
            continue  # no open file, no TCP, or closed meanwhile
