"""Nothing that a client sends makes the embedded engine hang, crash or lose its head."""

from __future__ import annotations

import base64
import os
import random
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.helpers.engine import PASSWORD, Engine

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
PIECES = [
    "SELECT", "INSERT INTO", "VALUES", "FORMAT", "FROM", "WITH", "(", ")", "[", "{", "}", "'", '"',
    "`", "/*", "*/", "--", "#!", "\n", "\\", ";", ",", ".", "*", "1", "numbers(3)", "JSON",
    "Native", "CSV", "INTO OUTFILE", "FROM INFILE", "SETTINGS", "max_threads=1", "{a:UInt8}", "$x$",
    "\x00", "ä", "EXPLAIN", "SET", "USE", "KILL QUERY WHERE 0", "SHOW TABLES",
    "DESCRIBE", "input('a Int8')",
]  # fmt: skip
sql_text = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.text(max_size=200),
)


def is_well(engine: Engine) -> bool:
    return engine.process.poll() is None and engine.text("SELECT 1") == "1"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=sql_text, fmt=st.sampled_from(["", "JSON", "Native", "Nope"]), tail=st.binary(max_size=50)
)
def test_any_text_is_answered(engine: Engine, text: str, fmt: str, tail: bytes) -> None:
    body = text.encode("utf-8", "replace") + tail
    parameters = {"default_format": fmt} if fmt else {}
    response = engine.ask(body, param_a="1", max_execution_time="5", **parameters)
    assert response.status_code == 200 or "X-ClickHouse-Exception-Code" in response.headers
    assert is_well(engine)


def test_any_bytes_on_the_socket_are_survived(engine: Engine) -> None:
    random_source = random.Random(7)
    token = base64.b64encode(f"millrace:{PASSWORD}".encode()).decode()
    whole = (
        f"POST /?query=SELECT%201&session_id=f HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Basic {token}\r\nTransfer-Encoding: chunked\r\n"
        "Content-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ).encode()
    for _ in range(EXAMPLES):
        damaged = bytearray(whole[: random_source.randrange(1, len(whole) + 1)])
        for _ in range(random_source.randrange(6)):
            damaged[random_source.randrange(len(damaged))] = random_source.randrange(256)
        with socket.create_connection(("127.0.0.1", engine.port), timeout=10) as connection:
            connection.sendall(bytes(damaged))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                continue
    assert is_well(engine)


def test_deep_and_long_statements_are_answered(engine: Engine) -> None:
    for text in (
        "SELECT " + "(" * 100_000,
        "SELECT '" + "\\" * 1_000_001,
        "/*" * 500_000,
        "SELECT " + "1+" * 200_000 + "1",
        "INSERT INTO " + "a." * 200_000,
        "-" * 2_000_000,
        "$" * 100_000,
        "SELECT 1 " + "FORMAT JSON " * 50_000,
    ):
        assert engine.ask(text).status_code >= 400
    assert is_well(engine)
    assert engine.ask("SELECT " + "1," * (9 << 20)).status_code == 413
