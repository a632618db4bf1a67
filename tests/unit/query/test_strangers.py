"""Strangers, however many come at once, take neither memory nor the threads of others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from millrace.access import keys, passwords, tokens, users
from millrace.access.tokens import Token
from millrace.api.http import ProblemError
from millrace.api.query import problems
from millrace.api.query.places import Places
from millrace.api.query.recognition import MOST_NEW, Recognition
from millrace.api.query.routes import login
from millrace.settings import Settings

SHOWN = f"Bearer {keys.new_text(tokens.PREFIX)}"
MADE = keys.new_text(tokens.PREFIX)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Token]:
    """The tokens that PostgreSQL has: none yet."""
    found: list[Token] = []
    monkeypatch.setattr(tokens, "usable", lambda _connection: list(found))
    monkeypatch.setattr(users, "active", lambda _connection: [])
    monkeypatch.setattr("millrace.access.sessions.ended", lambda *_arguments: frozenset())
    return found


async def of_nothing(work: Callable[[Any], Any]) -> Any:
    return work(None)


def test_so_many_unknown_tokens_wait_and_others_are_told_to_come_again(kept: list[Token]) -> None:
    async def run() -> None:
        recognition = Recognition(Settings(), of_nothing)
        await recognition.refresh()
        waiting = [asyncio.create_task(recognition.looked_again(SHOWN)) for _ in range(MOST_NEW)]
        await asyncio.sleep(0)  # each has begun to wait
        with pytest.raises(ProblemError) as refused:
            await recognition.looked_again(SHOWN)
        assert (refused.value.status, refused.value.code) == (503, "busy")
        assert refused.value.retry_after == 2
        kept.append(Token("12345678", "new", keys.digest(MADE), "viewer"))
        await recognition.refresh()
        assert await asyncio.gather(*waiting) == [True] * MOST_NEW
        again = asyncio.create_task(recognition.looked_again(SHOWN))
        await asyncio.sleep(0)
        await recognition.refresh()
        assert await again, "their places are free again"
        assert recognition.principal_of(f"Bearer {MADE}") is not None

    asyncio.run(run())


@pytest.mark.parametrize(
    "shown", ["", "Bearer mrq_", "Bearer mrq_abc", "Basic bXJxXw==", "Bearer a"]
)
def test_what_is_no_token_waits_for_none(shown: str) -> None:
    recognition = Recognition(Settings(), of_nothing)
    assert asyncio.run(recognition.looked_again(shown)) is False


def test_passwords_wait_for_a_thread_each_and_others_take_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 4
    checking, go_on = threading.Semaphore(0), threading.Event()

    def verify(_kept: str | None, _password: str) -> bool:
        checking.release()
        return go_on.wait(20) and False

    monkeypatch.setattr(passwords, "verify", verify)
    monkeypatch.setattr(users, "password_hash", lambda *_arguments: None)
    app = FastAPI()
    problems.install(app)
    app.include_router(login.router)
    app.state.service = SimpleNamespace(
        settings=Settings(),
        logins=SimpleNamespace(take=lambda *_arguments: None),
        passwords=Places(most, "Too many sign in at once."),
        connection=nullcontext,
    )

    async def run() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tests") as client:

            async def tried() -> httpx.Response:
                body = {"name": "ada", "password": "not the password"}
                return await client.post("/v1/login", json=body)

            guesses = [asyncio.create_task(tried()) for _ in range(most)]
            for _ in guesses:
                assert await asyncio.to_thread(checking.acquire, timeout=20)
            refused = await tried()
            assert (refused.status_code, refused.json()["code"]) == (503, "busy")
            assert refused.headers["retry-after"] == "2"
            assert not checking.acquire(blocking=False), "it was not looked at"
            go_on.set()
            assert {one.status_code for one in await asyncio.gather(*guesses)} == {401}
            assert (await tried()).status_code == 401, "their places are free again"

    asyncio.run(run())
