"""The account ``reader``: what it must not get, and that others don't feel it.

``tests/data/reader/forbidden.sql`` holds the statements. Each is refused, or answers without a byte
of what is not the reader's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from millrace.lab.engines import Engine, running

FORBIDDEN = Path(__file__).parents[1] / "data" / "reader" / "forbidden.sql"
CANARY = "canary"


def statements() -> list[str]:
    lines = FORBIDDEN.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("--")]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A server with something to take: raw tables, inputs of marts, a mart, a statement running."""
    with running(tmp_path_factory.mktemp("guarded") / "server") as engine:
        for name in ("millrace", "analytics", "analytics_shadow", "analytics_dev_ann"):
            engine.text(f"CREATE DATABASE {name}", database="default")
        for table in (
            "millrace.raw_events", "millrace.events", "millrace.rejected_events",
            "analytics.stg_events", "analytics.int_events", "analytics_shadow.sessions",
            "analytics_dev_ann.events",
        ):  # fmt: skip
            engine.text(
                f"CREATE TABLE {table} (id UInt64, text String, value String) "
                "ENGINE = MergeTree ORDER BY id"
            )
            engine.text(
                f"INSERT INTO {table} SELECT number, '{CANARY}', '{CANARY}' FROM numbers(9)"
            )
        engine.text(
            "CREATE TABLE analytics.sessions (user_id UInt64, country String) "
            "ENGINE = MergeTree ORDER BY user_id"
        )
        engine.text("INSERT INTO analytics.sessions SELECT 77000077, 'DE' FROM numbers(3)")
        engine.text(f"CREATE NAMED COLLECTION millrace_objects AS url = 'http://{CANARY}/'")
        engine.text(f"SELECT '{CANARY}' AS somebody_elses_statement")
        engine.text("SYSTEM FLUSH LOGS")
        yield engine


def test_there_are_enough_of_them() -> None:
    assert len(statements()) == len(set(statements())) >= 200


@pytest.mark.parametrize("statement", statements())
def test_a_forbidden_statement_gives_nothing_away(guarded: Engine, statement: str) -> None:
    secrets = guarded.folder.with_name("server.env")
    sql = (
        statement.replace("{folder}", str(guarded.folder))
        .replace("{secrets}", str(secrets))
        .replace("{port}", str(guarded.port))
        .replace("{native}", str(guarded.native_port))
    )
    answer = guarded.ask(sql, "reader")
    said = answer.text.replace(sql, "")  # an error repeats the statement
    for secret in (CANARY, "77000077", "root:x:", "PASSWORD"):
        assert secret not in said, said
    assert answer.status_code != 200 or said.strip() in ("", "0"), said


def test_nothing_was_changed_by_any_of_them(guarded: Engine) -> None:
    assert guarded.text("SELECT count(), any(country) FROM analytics.sessions") == "3\tDE"
    assert guarded.text("SELECT count() FROM millrace.events") == "9"
    assert guarded.text("SHOW TABLES FROM analytics").split() == [
        "int_events", "sessions", "stg_events",
    ]  # fmt: skip
    assert not list(Path("/tmp").glob("evil*"))  # noqa: S108  where statements tried to write


def test_another_profile_lifts_no_limit(guarded: Engine) -> None:
    limits = "readonly", "max_execution_time", "max_memory_usage", "max_threads"
    asked = "SELECT " + ", ".join(f"getSetting('{name}')" for name in limits)
    own = guarded.text(asked, "reader")
    for profile in ("default", "millrace"):
        for answer in (
            guarded.ask(f"{asked} SETTINGS profile = '{profile}'", "reader"),
            guarded.ask(asked, "reader", profile=profile),
        ):
            refused = "SETTING_CONSTRAINT_VIOLATION" in answer.text
            assert refused or answer.text.strip() == own, answer.text


def test_what_is_the_readers_is_given(guarded: Engine) -> None:
    assert guarded.text("SELECT count(), any(country) FROM sessions", "reader") == "3\tDE"
    assert "sessions" in guarded.text("SHOW TABLES", "reader").split()
    assert "stg_events" not in guarded.text("SHOW TABLES", "reader").split()
    assert guarded.text("SELECT count() > 0 FROM system.functions", "reader") == "1"
    # A tool sets the settings that it needs; only the limits hold.
    assert guarded.text("SELECT 1 SETTINGS max_block_size = 100", "reader") == "1"


def test_eighty_slow_statements_of_the_reader_leave_others_their_answers(guarded: Engine) -> None:
    slow = "SELECT sum(sipHash64(toString(number))) FROM numbers_mt(1900000000)"

    def ask(_: int) -> str:
        return guarded.ask(slow, "reader", max_execution_time=8).text

    with ThreadPoolExecutor(80) as pool:
        waiting = [pool.submit(ask, number) for number in range(80)]
        others = 0
        while not all(future.done() for future in waiting):
            assert guarded.text("SELECT count() FROM millrace.events", "loader") == "9"
            others += 1
        answers = [future.result() for future in waiting]
    refused = [text for text in answers if "TOO_MANY_SIMULTANEOUS_QUERIES" in text]
    assert len(refused) >= 60  # at once, so that a person is told rather than left waiting
    assert others >= 10  # answered while eight of them were running


def test_the_answer_to_a_wrong_password_is_the_same_for_every_account(guarded: Engine) -> None:
    def answer(name: str) -> str:
        headers = {"X-ClickHouse-User": name, "X-ClickHouse-Key": "wrong"}
        text = httpx.post(guarded.url, headers=headers, content="SELECT 1").text
        return text.replace(name, "NAME").split("(version")[0]

    assert answer("reader") == answer("nobody") == answer("millrace")
