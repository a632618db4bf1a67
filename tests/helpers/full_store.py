"""A store that runs full: a proxy in front of an S3 server that takes so many bytes and no more."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FULL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>XMinioStorageFull</Code><Message>Storage '
    b"backend has reached its minimum free drive threshold. Please delete a few objects to proceed."
    b"</Message></Error>"
)
"""What MinIO answers when its disks are full, with status 507."""


@dataclass
class Store:
    """Where the proxy listens, and how much it still takes."""

    endpoint: str
    room: int
    refused: int = 0


@contextmanager
def in_front_of(endpoint: str, room: int) -> Iterator[Store]:
    """Pass requests on to ``endpoint`` until ``room`` bytes were written there."""
    place = urlsplit(endpoint).netloc
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "PUT":
                with lock:
                    store.room -= len(body)
                    is_full = store.room < 0
                    store.refused += is_full
                if is_full:
                    self._answer(507, [("Content-Type", "application/xml")], FULL)
                    return
            connection = http.client.HTTPConnection(place, timeout=60)
            # The signature covers the name that the client used, so headers go on as they came.
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            self._answer(reply.status, reply.getheaders(), reply.read())
            connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            is_head = self.command == "HEAD"
            for name, value in headers:
                if name.lower() == "transfer-encoding" or (
                    name.lower() == "content-length" and not is_head
                ):
                    continue
                self.send_header(name, value)
            if not is_head and status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing: the test looks at the outcome."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store = Store(f"http://127.0.0.1:{server.server_port}", room)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
