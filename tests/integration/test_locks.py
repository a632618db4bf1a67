"""Advisory locks by name, between connections of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread

import pytest

from millrace import waiting
from millrace.contract import locks
from millrace.settings import Settings
from millrace.stores import postgres

NAME = "millrace.test_locks"


def test_who_wants_it_at_once_is_refused_while_another_holds_it(settings: Settings) -> None:
    with postgres.connect(settings) as one, postgres.connect(settings) as other:
        with locks.alone(one, NAME, "a"):
            with (
                pytest.raises(RuntimeError, match="busy"),
                locks.at_once(other, NAME, "a", error=RuntimeError("busy")),
            ):
                pass
            with locks.at_once(other, NAME, "b", error=RuntimeError("busy")):
                assert locks.is_free(one, NAME)
        with locks.at_once(other, NAME, "a", error=RuntimeError("busy")):
            assert not locks.is_free(one, f"{NAME}:a")
        assert locks.is_free(one, f"{NAME}:a")


def test_a_lock_ends_with_the_connection_that_held_it(settings: Settings) -> None:
    holder = postgres.connect(settings)
    held = locks.alone(holder, NAME)
    held.__enter__()
    with postgres.connect(settings) as other:
        assert not locks.is_free(other, NAME)
        holder.close()
        waiting.until(lambda: locks.is_free(other, NAME), "the lock to be free", seconds=60)


@pytest.mark.parametrize("held", [locks.alone, locks.shared])
def test_what_happened_is_not_hidden_where_the_connection_went(
    settings: Settings, held: Callable[..., AbstractContextManager[None]]
) -> None:
    def work() -> None:
        with postgres.connect(settings) as holder, held(holder, NAME):
            holder.close()
            raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause"):
        work()


def test_those_who_share_wait_for_who_is_alone(settings: Settings) -> None:
    order: list[str] = []

    def share() -> None:
        with postgres.connect(settings) as connection, connection.transaction():
            locks.shared_until_commit(connection, NAME)
            order.append("shared")

    with postgres.connect(settings) as connection:
        with locks.alone(connection, NAME):
            sharer = Thread(target=share)
            sharer.start()
            waiting.until(
                lambda: connection.execute(
                    "SELECT 1 AS one FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchone(),
                "the other to wait",
                seconds=60,
            )
            order.append("alone")
        sharer.join()
    assert order == ["alone", "shared"]


def test_a_statement_that_always_has_a_row_gives_it(settings: Settings) -> None:
    with postgres.connect(settings) as connection:
        assert postgres.one(connection.execute("SELECT count(*) AS n FROM gates"))["n"] >= 0
        with pytest.raises(LookupError, match="no row"):
            postgres.one(connection.execute("SELECT 1 WHERE false"))
