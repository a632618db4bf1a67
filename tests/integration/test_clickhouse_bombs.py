"""Requests made to bring the server down, before authentication and as ``reader``.

While each is under way, another account's statements are answered, and memory stays bounded.
"""

from __future__ import annotations

import http.client
import logging
import resource
import socket
import threading
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic

import psutil
import pytest
from backports import zstd

from millrace import waiting
from millrace.lab.engines import Engine, password, running

log = logging.getLogger(__name__)

GIB = 1 << 30
MOST_GROWTH = 3 * GIB
BIG = b"a" * (64 << 20)
DEEP = 100_000
CREDENTIALS = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": password("reader")}
LOGIN = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in CREDENTIALS.items())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(tmp_path_factory.mktemp("bombed") / "server") as engine:
        for name in ("millrace", "analytics"):
            engine.text(f"CREATE DATABASE {name}", database="default")
        engine.text("CREATE TABLE analytics.sessions (a String) ENGINE = MergeTree ORDER BY a")
        yield engine


class Bystander:
    """Asks ``SELECT 1`` as ``loader``, over and over, each time on a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self.answers = 0
        self.slowest = 0.0
        self.most_memory = 0
        self._engine = engine
        self._process = psutil.Process(engine.process.pid)
        self._stop = threading.Event()
        self._has_ended = False

    def ask_until_stopped(self) -> None:
        """Ask, and keep what was seen; an answer that is none of the server's fails the test."""
        try:
            while not self._stop.is_set():
                begun = monotonic()
                assert self._engine.text("SELECT 1", "loader") == "1"
                self.slowest = max(self.slowest, monotonic() - begun)
                self.most_memory = max(self.most_memory, self._process.memory_info().rss)
                self.answers += 1
        finally:
            self._has_ended = True

    def stop(self) -> None:
        """Let the statement under way be the last."""
        self._stop.set()

    def wait_for_more(self, answers: int) -> None:
        """Wait until so many further answers came; raises ``TimeoutError`` if they don't."""
        enough = self.answers + answers
        waiting.until(
            lambda: self.answers >= enough or self._has_ended,
            f"{answers} more answers",
            seconds=60,
            every=0.01,
        )


@contextmanager
def bystander(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Bystander]:
    """Have another account served for the time of a ``with`` block, and hold the memory's bound."""
    before = psutil.Process(engine.process.pid).memory_info().rss
    other = Bystander(engine)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(other.ask_until_stopped)
        try:
            other.wait_for_more(1)
            yield other
            other.wait_for_more(1)
        finally:
            other.stop()
        asking.result()
    growth = other.most_memory - before
    log.info(
        f"{request.node.name}: {other.answers} answers, the slowest after {other.slowest:.2f} s, "
        f"memory +{growth >> 20} MiB"
    )
    assert growth < MOST_GROWTH


def post(engine: Engine, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """POST a body that the server may refuse before it has read it."""
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=120)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read(2000).decode(errors="replace")
    finally:
        connection.close()


def compress(pieces: Iterable[bytes], encoding: str) -> bytes:
    packer = zstd.ZstdCompressor(level=1) if encoding == "zstd" else zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


@cache
def gigabyte_of_zeros(encoding: str) -> bytes:
    return compress([b"0" * (16 << 20)] * 64, encoding)


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
@pytest.mark.parametrize("headers", [{}, CREDENTIALS], ids=["stranger", "reader"])
def test_a_body_that_unpacks_to_many_gigabytes(
    target: Engine, encoding: str, headers: dict[str, str], request: pytest.FixtureRequest
) -> None:
    heads = b"SELECT '", b"SELECT 1 /*", b"INSERT INTO analytics.sessions FORMAT TSV\n"
    bodies = [compress([head], encoding) + 16 * gigabyte_of_zeros(encoding) for head in heads]
    with bystander(target, request) as other, ThreadPoolExecutor(6) as pool:
        for status, text in pool.map(
            lambda body: post(target, body, headers | {"Content-Encoding": encoding}), bodies * 4
        ):
            assert status == 401 if not headers else status in (400, 403), text
        other.wait_for_more(3)


NESTED = {
    "parentheses": "SELECT " + "(" * DEEP + "1" + ")" * DEEP,
    "open parentheses": "SELECT " + "(" * DEEP,
    "arrays": "SELECT " + "[" * DEEP + "]" * DEEP,
    "functions": "SELECT " + "abs(" * DEEP + "1" + ")" * DEEP,
    "negations": "SELECT " + "NOT " * DEEP + "1",
    "sums": "SELECT " + "1+" * DEEP + "1",
    "casts": "SELECT 1" + "::UInt8" * DEEP,
    "subqueries": "SELECT * FROM (" * DEEP + "SELECT 1" + ")" * DEEP,
    "cases": "SELECT " + "CASE WHEN 1 THEN " * DEEP + "1" + " ELSE 2 END" * DEEP,
    "lambdas": "SELECT " + "(x -> " * DEEP + "1" + ")" * DEEP,
    "members": "SELECT a" + ".a" * DEEP,
    "types": "SELECT CAST([], '" + "Array(" * DEEP + "UInt8" + ")" * DEEP + "')",
    "joins": "SELECT 1 FROM " + ", ".join(["system.one"] * 5000),
    "unions": "SELECT 1" + " UNION ALL SELECT 1" * DEEP,
    "names that double": "WITH 1 AS a0, "
    + ", ".join(f"a{i} + a{i} AS a{i + 1}" for i in range(200))
    + " SELECT a200",
}


@pytest.mark.parametrize("name", NESTED)
def test_a_deeply_nested_statement_is_refused(
    target: Engine, name: str, request: pytest.FixtureRequest
) -> None:
    with bystander(target, request) as other:
        for settings in (
            "",
            " SETTINGS max_parser_depth = 0",
            " SETTINGS max_ast_elements = 1000000, max_ast_depth = 1000000",
        ):
            status, text = post(target, (NESTED[name] + settings).encode(), CREDENTIALS)
            assert status in (400, 500), text
            assert text.startswith("Code: "), text
        other.wait_for_more(3)


def test_a_list_of_many_values_is_no_bomb(target: Engine) -> None:
    values = ",".join(map(str, range(100_000)))
    assert target.text(f"SELECT 7 IN ({values})", "reader") == "1"


HEADS = {
    "a header": b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n%sX-A: " + BIG + b"\r\n\r\n",
    "a header's name": b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n%s" + BIG + b": 1\r\n\r\n",
    "a URL": b"GET /?query=SELECT+1&a=" + BIG + b" HTTP/1.1\r\nHost: x\r\n%s\r\n",
    "many headers": b"GET /?query=SELECT+1 HTTP/1.1\r\n%s" + b"X-A: 1\r\n" * 8_000_000 + b"\r\n",
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("login", [b"", LOGIN], ids=["stranger", "reader"])
def test_a_head_of_64_mib_is_refused(
    target: Engine, name: str, login: bytes, request: pytest.FixtureRequest
) -> None:
    head = HEADS[name].replace(b"%s", login, 1)

    def send(_: int) -> bytes:
        with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
            try:
                connection.sendall(head)
                return connection.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                return b""  # hung up on while it was sending

    with bystander(target, request) as other, ThreadPoolExecutor(8) as pool:
        for answer in pool.map(send, range(16)):
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer
        other.wait_for_more(3)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Engine]:
    """A server of one case's own: a connection holds memory maps, of which a process has 65,530."""
    with running(tmp_path / "server") as engine:
        engine.text("CREATE DATABASE millrace", database="default")
        yield engine


HALVES = {
    "nothing": (b"", b""),
    "half a request, then a byte now and then": (b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a"),
    "nothing on the native port": (b"", b""),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HALVES)
def test_ten_thousand_half_open_connections(
    fresh: Engine, name: str, request: pytest.FixtureRequest
) -> None:
    first, later = HALVES[name]
    port = fresh.native_port if "native" in name else fresh.port
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 16_000:
        pytest.skip(f"needs 16,000 files a process; this machine allows {hard}: raise ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with bystander(fresh, request) as other, ExitStack() as held:
            connections = []
            for _ in range(10_000):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                connection.sendall(first)
                connections.append(connection)
            other.wait_for_more(20)
            for connection in connections:
                if later:
                    connection.sendall(later)
            other.wait_for_more(20)
            # The server lets go of whoever does not go on.
            connections[0].settimeout(60)
            waiting.until(
                lambda: _is_closed(connections[0]), "the server to hang up", seconds=60, every=0.1
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1000)
    except ConnectionResetError:
        return True
