"""The embedded engine's HTTP protocol: users, sessions, errors, limits and cancellation."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.helpers import engine as engines
from tests.helpers import wait
from tests.helpers.engine import PASSWORD, Engine

from millrace import waiting


def processes(engine: Engine, marker: str) -> int:
    sql = f"SELECT countIf(query LIKE '%{marker}%' AND query NOT LIKE '%processes%')"
    return int(engine.text(f"{sql} FROM system.processes"))


# --- the interface without a statement ---


def test_ping_health_and_unknown_paths(engine: Engine) -> None:
    assert httpx.get(engine.url + "ping").text == "Ok.\n"
    assert httpx.get(engine.url + "replicas_status").status_code == 200
    assert httpx.get(engine.url + "health").json()["status"] == "ok"
    assert httpx.get(engine.url + "nope").status_code == 404
    with engine.http() as client:
        assert client.get("/").text == "Ok.\n"


# --- users ---


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: httpx.post(url, content="SELECT 1", auth=("millrace", PASSWORD)),
        lambda url: httpx.post(
            url, content="SELECT 1", params={"user": "millrace", "password": PASSWORD}
        ),
        lambda url: httpx.post(
            url,
            content="SELECT 1",
            headers={"X-ClickHouse-User": "millrace", "X-ClickHouse-Key": PASSWORD},
        ),
    ],
    ids=["basic", "url", "headers"],
)
def test_credentials_are_taken_as_clickhouse_takes_them(engine: Engine, ask: object) -> None:
    assert callable(ask)
    assert ask(engine.url).text == "1\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic " + base64.b64encode(b"millrace:wrong").decode()},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer x"},
        {"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": PASSWORD},
    ],
)
def test_wrong_credentials_are_refused(engine: Engine, headers: dict[str, str]) -> None:
    response = httpx.post(engine.url, content="SELECT 1", headers=headers)
    assert response.status_code == 403
    assert response.headers["X-ClickHouse-Exception-Code"] == "516"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE made (a UInt8) ENGINE = Memory",
        "INSERT INTO visits VALUES ('US', 1)",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "KILL QUERY WHERE 1",
        "SYSTEM DROP MARK CACHE",
        "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT * FROM `file`('/etc/passwd', LineAsString)",
        "SELECT file('/etc/hostname')",
        "DROP TABLE visits",
    ],
)
@pytest.mark.parametrize(("user", "password"), [("reader", "reads"), ("dashboard", "password")])
def test_readers_change_nothing(engine: Engine, sql: str, user: str, password: str) -> None:
    engine.text("CREATE TABLE IF NOT EXISTS visits (country String, n UInt8) ENGINE = Memory")
    with engine.http(user, password) as client:
        response = client.post("/", content=sql)
    assert response.headers.get("X-ClickHouse-Exception-Code") == "164", response.text
    with engine.http(user, password) as client:
        assert client.post("/", content="SELECT 1", params={"readonly": "0"}).status_code == 500


def test_row_filters_hold(engine: Engine) -> None:
    engine.text("CREATE OR REPLACE TABLE visits (country String, n UInt8) ENGINE = Memory")
    engine.text("INSERT INTO visits VALUES ('US', 1), ('DE', 2)")
    with engine.http("dashboard", "password") as client:
        assert client.post("/", content="SELECT sum(n) FROM visits").text == "1\n"
        for way in ("visits AS v", "(SELECT * FROM default.visits)"):
            assert client.post("/", content=f"SELECT sum(n) FROM {way}").text == "1\n", way
        merged = client.post("/", content="SELECT sum(n) FROM merge('default', '^visits$')")
        assert merged.headers["X-ClickHouse-Exception-Code"] == "164"
        escape = {"additional_table_filters": "{}"}
        assert client.post("/", content="SELECT 1", params=escape).status_code == 500


def test_a_users_settings_apply(engine: Engine) -> None:
    with engine.http("tuned", "") as client:
        response = client.post("/", content="SELECT number FROM numbers(100)")
    assert response.headers["X-ClickHouse-Exception-Code"] == "396"


def test_get_reads_only(engine: Engine) -> None:
    with engine.http() as client:
        assert client.get("/", params={"query": "SELECT 1 AS a FORMAT JSONEachRow"}).text == (
            '{"a":1}\n'
        )
        for sql in ("CREATE TABLE made (a UInt8) ENGINE = Memory", "INSERT INTO made VALUES (1)"):
            response = client.get("/", params={"query": sql})
            assert response.headers["X-ClickHouse-Exception-Code"] == "164"


# --- statements ---


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("INSERT INTO places FORMAT CSV", b"1\n2\n"),
        ("INSERT INTO places VALUES", b"(1),(2)"),
        (
            "INSERT INTO places (a) SETTINGS insert_deduplicate=0 FORMAT JSONEachRow",
            b'{"a":1}{"a":2}',
        ),
        ("", b"INSERT INTO places FORMAT TSV\n1\n2\n"),
        ("", b"INSERT INTO places(a) VALUES (1), (2);"),
        ("", b"/* FORMAT */ INSERT INTO `places` -- VALUES\n SELECT number + 1 FROM numbers(2)"),
    ],
)
def test_inserts_find_their_data(engine: Engine, query: str, body: bytes) -> None:
    engine.text("CREATE OR REPLACE TABLE places (a UInt8) ENGINE = MergeTree ORDER BY a")
    response = engine.ask(body, **({"query": query} if query else {}))
    assert response.status_code == 200, response.text
    assert engine.text("SELECT count(), sum(a) FROM places") == "2\t3"


def test_insert_reports_what_it_wrote(engine: Engine) -> None:
    engine.text("CREATE OR REPLACE TABLE places (a UInt8) ENGINE = MergeTree ORDER BY a")
    response = engine.ask("INSERT INTO places VALUES (1), (2)", query_id="my-insert")
    assert json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert response.headers["X-ClickHouse-Query-Id"] == "my-insert"
    assert response.headers["X-ClickHouse-Timezone"] == "UTC"
    assert "X-ClickHouse-Format" not in response.headers


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT * FROM nope", 60, 404),
        ("USE nope", 81, 404),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT {a:UInt8}", 456, 500),
        ("quit", 62, 400),
        ("'", 62, 400),
        ("-- nothing", 62, 400),
        ("SELECT 1 INTO OUTFILE '/tmp/out'", 48, 501),
        ("INSERT INTO places FROM INFILE '/etc/passwd' FORMAT LineAsString", 48, 501),
        ("INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV 1", 48, 501),
        ("SELECT 1 FORMAT Nope", 73, 404),
        (b"SELECT '\xff\xfe'", 62, 400),
    ],
)
def test_errors_have_code_status_and_text(
    engine: Engine, sql: str | bytes, code: int, status: int
) -> None:
    response = engine.ask(sql)
    assert response.headers.get("X-ClickHouse-Exception-Code") == str(code), response.text
    assert response.status_code == status
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")


def test_unknown_settings_are_named(engine: Engine) -> None:
    assert "no_such_setting" in engine.ask("SELECT 1", no_such_setting="1").text
    assert engine.ask("SELECT 1", **{"a'b": "1"}).status_code == 400


def test_results_are_compressed_when_asked(engine: Engine) -> None:
    with (
        engine.http() as client,
        client.stream(
            "POST",
            "/",
            content="SELECT number FROM numbers(500000)",
            params={"enable_http_compression": "1"},
            headers={"Accept-Encoding": "gzip"},
        ) as response,
    ):
        raw = b"".join(response.iter_raw())
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw).count(b"\n") == 500_000


def test_a_broken_or_unknown_encoding_is_refused(engine: Engine) -> None:
    engine.text("CREATE OR REPLACE TABLE places (a UInt8) ENGINE = MergeTree ORDER BY a")
    with engine.http() as client:
        for encoding, body in (("gzip", b"junk"), ("zstd", b"junk"), ("nope", b"x")):
            headers = {"Content-Encoding": encoding}
            query = {"query": "INSERT INTO places FORMAT CSV"}
            assert client.post("/", content=body, params=query, headers=headers).status_code == 400
        whole = gzip.compress(b"1\n" * 100_000)
        headers = {"Content-Encoding": "gzip"}
        query = {"query": "INSERT INTO places FORMAT CSV"}
        cut = client.post("/", content=whole[:-20], params=query, headers=headers)
        assert cut.status_code == 400
    assert engine.text("SELECT count() FROM places") == "0"


# --- sessions ---


def test_session_settings_and_database_last(engine: Engine) -> None:
    session = {"session_id": "settings"}
    engine.text("SET max_threads = 1, max_block_size = 777", **session)
    value = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    assert engine.text(value, **session) == "777"
    assert engine.text(value, **session, max_block_size="5") == "5"
    assert engine.text(value, **session) == "777"
    engine.text("USE system", **session)
    assert engine.text("SELECT currentDatabase()", **session) == "system"
    assert engine.text("SELECT currentDatabase()") == "default"


def test_session_rules(engine: Engine) -> None:
    absent = engine.ask("SELECT 1", session_id="absent", session_check="1")
    assert "SESSION_NOT_FOUND" in absent.text
    too_long = engine.ask("SELECT 1", session_id="s", session_timeout="99999")
    assert "INVALID_SESSION_TIMEOUT" in too_long.text
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.text, "SELECT sleep(2), 'locks'", session_id="busy")
        wait.until(lambda: processes(engine, "locks"))
        assert "SESSION_IS_LOCKED" in engine.ask("SELECT 1", session_id="busy").text
        assert slow.result() == "0\tlocks"


def test_an_idle_session_ends(engine: Engine) -> None:
    engine.text("SELECT 1", session_id="brief", session_timeout="1")

    def is_over() -> bool:
        return engine.ask("SELECT 1", session_id="brief", session_check="1").status_code != 200

    # Each question prolongs the session, so that they must be further apart than it lasts.
    waiting.until(is_over, "the session to end", seconds=20, every=1.5)


# --- limits and cancellation ---

ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1 AND '{}' != ''"


def raw_request(engine: Engine, body: bytes, extra: str = "") -> socket.socket:
    """Send a request on a bare socket, to be abandoned at will."""
    connection = socket.create_connection(("127.0.0.1", engine.port))
    token = base64.b64encode(f"millrace:{PASSWORD}".encode()).decode()
    head = f"POST /{extra} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def test_a_query_ends_when_its_client_goes_away(engine: Engine) -> None:
    connection = raw_request(engine, ENDLESS.format("abandoned").encode())
    wait.until(lambda: processes(engine, "abandoned"))
    connection.close()
    wait.until(lambda: not processes(engine, "abandoned"))


@pytest.mark.parametrize("output_format", ["Native", "JSON"])
def test_a_stream_ends_when_its_client_goes_away(engine: Engine, output_format: str) -> None:
    marker = f"stream{output_format}"
    sql = f"SELECT number, '{marker}' FROM system.numbers FORMAT {output_format}"
    connection = raw_request(engine, sql.encode())
    connection.recv(65536)
    assert processes(engine, marker) == 1
    connection.close()
    wait.until(lambda: not processes(engine, marker))


def test_an_insert_cut_off_leaves_nothing(engine: Engine) -> None:
    engine.text("CREATE OR REPLACE TABLE cut (a UInt64) ENGINE = MergeTree ORDER BY a")
    connection = socket.create_connection(("127.0.0.1", engine.port))
    token = base64.b64encode(f"millrace:{PASSWORD}".encode()).decode()
    body = b"INSERT INTO cut FORMAT CSV\n" + b"1\n" * 1_000_000
    head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n"
    connection.sendall(f"{head}Content-Length: {2 * len(body)}\r\n\r\n".encode() + body)
    wait.until(lambda: engine_running(engine))
    connection.close()
    wait.until(lambda: not engine_running(engine))
    assert engine.text("SELECT count() FROM cut") == "0"


def engine_running(engine: Engine) -> int:
    running = httpx.get(engine.url + "health").json()["running"]
    assert isinstance(running, int)
    return running


def test_kill_query_knows_clients_query_ids(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.ask, ENDLESS.format("victim"), query_id="the-victim")
        wait.until(lambda: processes(engine, "victim"))
        assert engine.ask("SELECT 1", query_id="the-victim").status_code == 500
        engine.text("KILL QUERY WHERE query_id = 'the-victim' SYNC")
        assert slow.result().headers["X-ClickHouse-Exception-Code"] == "394"


def test_a_full_queue_refuses_and_drains(engine: Engine) -> None:
    """Four queries run and four wait; a ninth is refused, and all others are answered."""
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(engine.ask, ENDLESS.format(f"crowd{i}"), max_execution_time="4")
            for i in range(8)
        ]
        wait.until(lambda: httpx.get(engine.url + "health").json()["queued"] == 4)
        refused = engine.ask("SELECT 1")
        assert refused.status_code == 503
        assert refused.headers["X-ClickHouse-Exception-Code"] == "202"
        codes = [future.result().headers["X-ClickHouse-Exception-Code"] for future in waiting]
    assert codes == ["159"] * 8


def test_memory_limit_fails_the_query_alone(engine: Engine) -> None:
    response = engine.ask(
        "SELECT groupArray(number) FROM numbers(100000000)", max_memory_usage=str(64 << 20)
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "241"
    assert engine.text("SELECT 1") == "1"


def test_handles_are_shared_by_many_threads(engine: Engine) -> None:
    engine.text("CREATE OR REPLACE TABLE shared (a UInt64) ENGINE = MergeTree ORDER BY a")
    barrier = threading.Barrier(8)

    def work(worker: int) -> int:
        with engine.http() as client:
            barrier.wait()
            for i in range(25):
                value = worker * 1000 + i
                reply = client.post("/", content=f"INSERT INTO shared VALUES ({value})")
                assert reply.status_code == 200, reply.text
                reply = client.post(
                    "/",
                    content="SELECT {v:UInt64} FORMAT JSONCompactEachRow",
                    params={"param_v": str(value), "max_block_size": str(value + 1)},
                )
                assert reply.json() == [str(value)] or reply.json() == [value]
        return 25

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 200
    assert engine.text("SELECT count(), uniqExact(a) FROM shared") == "200\t200"


# --- the process ---


def test_killed_engine_keeps_every_acknowledged_insert(tmp_path: Path) -> None:
    engine = engines.start(tmp_path)
    engine.text("CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
    acknowledged: list[int] = []

    def insert(worker: int) -> None:
        with engine.http() as client:
            for i in range(10_000):
                value = worker * 10_000 + i
                try:
                    reply = client.post("/", content=f"INSERT INTO kept VALUES ({value})")
                except httpx.HTTPError:
                    return
                if reply.status_code == 200:
                    acknowledged.append(value)

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(insert, worker) for worker in range(3)]
        wait.until(lambda: len(acknowledged) > 100)
        engine.kill()
        for future in workers:
            future.result()
    with engines.running(tmp_path) as again:
        kept = {int(line) for line in again.text("SELECT a FROM kept").splitlines()}
    assert kept.issuperset(acknowledged)
    # Per worker one insert may have been done but not acknowledged.
    assert len(kept - set(acknowledged)) <= 3


def test_two_engines_do_not_share_a_directory(tmp_path: Path) -> None:
    with engines.running(tmp_path) as engine:
        with pytest.raises(RuntimeError, match=f"in use by process {engine.process.pid}"):
            engines.start(tmp_path)
        assert engine.text("SELECT 1") == "1"


def test_sigterm_lets_a_running_query_finish(tmp_path: Path) -> None:
    engine = engines.start(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.text, "SELECT sleep(1.5), 'last words'")
        wait.until(lambda: processes(engine, "last words"))
        assert engine.terminate() == 0
        assert slow.result() == "0\tlast words"


def test_sigterm_does_not_wait_for_ever(tmp_path: Path) -> None:
    engine = engines.start(tmp_path, "--shutdown-seconds", "1")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.ask, ENDLESS.format("stubborn"))
        wait.until(lambda: processes(engine, "stubborn"))
        assert engine.terminate() == 0
        with pytest.raises(httpx.HTTPError):
            slow.result()


def test_bad_users_are_explained(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="row_filters need readonly = 1"):
        engines.start(tmp_path, users='[users.x]\nrow_filters = { "a.b" = "1" }\n')
