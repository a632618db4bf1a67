"""The way to Airflow: tokens that grow old, and an Airflow that is away.

A real Airflow's tokens live for a day, so a local server speaks its protocol here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace.api.http import ProblemError
from millrace.api.query import airflow
from millrace.api.query.airflow import Airflow, AirflowError
from millrace.settings import Settings


@dataclass
class Peer:
    """Gives out numbered tokens, takes the newest only, and counts what it is asked."""

    tokens: int = 0
    is_away: bool = False
    asked: list[str] = field(default_factory=list)

    async def sign_in(self, request: web.Request) -> web.Response:
        """Sign in with the right password."""
        if (await request.json())["password"] != "right":
            return web.json_response({"detail": "Invalid credentials"}, status=401)
        self.tokens += 1
        return web.json_response({"access_token": f"token {self.tokens}"}, status=201)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer whoever has the newest token."""
        self.asked.append(request.rel_url.raw_path)
        if self.is_away:
            return web.Response(status=503)
        if request.headers["Authorization"] != f"Bearer token {self.tokens}":
            return web.json_response({"detail": "expired"}, status=401)
        if request.path.endswith("nosuch"):
            return web.json_response({"detail": "not found"}, status=404)
        return web.json_response({"ok": True})


def run(work: Callable[[Airflow, Peer], Awaitable[Any]], says: str = "right") -> None:
    async def serve() -> None:
        peer = Peer()
        application = web.Application()
        application.router.add_post("/auth/token", peer.sign_in)
        application.router.add_route("*", "/api/v2/{rest:.*}", peer.answer)
        async with TestServer(application) as server:
            url = str(server.make_url(""))
            client = Airflow(Settings(airflow_api_url=url, airflow_query_password=says))  # type: ignore[arg-type]
            await client.start()
            try:
                await work(client, peer)
            finally:
                await client.stop()

    asyncio.run(serve())


def test_one_token_serves_all_until_it_is_refused() -> None:
    async def work(client: Airflow, peer: Peer) -> None:
        await asyncio.gather(*(client.get("dags") for _ in range(5)))
        assert peer.tokens == 1
        peer.tokens += 1  # the first has expired
        assert await client.get("dags", "run +:/ö") == {"ok": True}
        assert peer.tokens == 3
        assert peer.asked[-1] == "/api/v2/dags/run%20%2B%3A%2F%C3%B6"

    run(work)


def test_what_airflow_refuses_is_told_with_its_reason() -> None:
    async def work(client: Airflow, peer: Peer) -> None:
        with pytest.raises(AirflowError, match=r"\(404\): not found") as refused:
            await client.get("nosuch")
        assert (refused.value.answered, refused.value.status) == (404, 502)

    run(work)


def test_a_wrong_password_names_the_setting() -> None:
    async def work(client: Airflow, peer: Peer) -> None:
        with pytest.raises(ProblemError, match="MILLRACE_AIRFLOW_QUERY_PASSWORD") as refused:
            await client.get("dags")
        assert refused.value.status == 503

    run(work, says="wrong")


def test_an_airflow_that_is_away_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow, "AGAIN_SECONDS", 3600.0)

    async def work(client: Airflow, peer: Peer) -> None:
        peer.is_away = True
        for _ in range(3):
            with pytest.raises(ProblemError, match="Airflow does not answer") as away:
                await client.get("dags")
            assert (away.value.status, away.value.retry_after) == (503, 5)
        assert len(peer.asked) == 1

    run(work)
