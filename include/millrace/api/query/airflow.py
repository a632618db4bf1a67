"""Airflow as the query API speaks to it: its REST API, under an account that may run DAGs.

The account (``airflow_query_user``) has the role ``user`` there: it reads DAGs, starts and ends
runs, and sees neither connections nor variables.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from millrace.api.http import ProblemError
from millrace.settings import Settings

AGAIN_SECONDS = 2.0
"""How long nothing is asked of a server that did not answer."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 20.0
"""How long an answer may take: a busy scheduler's database makes Airflow slow."""
AWAY = (502, 503, 504)


class AirflowError(ProblemError):
    """Airflow refused a request, with the status ``answered``; to whoever asked us it is a 502."""

    def __init__(self, answered: int, detail: str) -> None:
        super().__init__(502, "airflow_refused", f"Airflow refused ({answered}): {detail}")
        self.answered = answered


class Airflow:
    """A process's way to Airflow; it belongs to the event loop that calls it."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.airflow_api_url.rstrip("/")
        self._user = settings.airflow_query_user
        self._password = settings.airflow_query_password
        self._token = ""
        self._signing_in = asyncio.Lock()
        self._away_until = 0.0
        self._session: aiohttp.ClientSession

    async def start(self) -> None:
        """Begin; Airflow need not answer yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
        )

    async def stop(self) -> None:
        """End."""
        await self._session.close()

    async def get(self, *path: str, **query: Any) -> Any:
        """Return what Airflow has at a path below ``/api/v2``, given in its parts.

        This and the other methods raise ``ProblemError`` (503) while Airflow is away, and
        ``AirflowError`` when it refuses.
        """
        return await self._ask("GET", path, query=query)

    async def post(self, *path: str, body: Mapping[str, Any]) -> Any:
        """Return what Airflow answers to a document."""
        return await self._ask("POST", path, body=body)

    async def patch(self, *path: str, body: Mapping[str, Any]) -> Any:
        """Change what is at a path, and return it."""
        return await self._ask("PATCH", path, body=body)

    async def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        place = "/api/v2/" + "/".join(quote(part, safe="~") for part in path)
        used = self._token or await self._sign_in("")
        status, answer = await self._send(method, place, used, query, body)
        if status == 401:  # Airflow forgot the token, or it is too old
            used = await self._sign_in(used)
            status, answer = await self._send(method, place, used, query, body)
        if status >= 400:
            raise AirflowError(status, _detail(answer))
        return answer

    async def _sign_in(self, refused: str) -> str:
        """Get a token in place of one that was refused; those who ask meanwhile share it."""
        async with self._signing_in:
            if self._token == refused:
                login = {
                    "username": self._user,
                    "password": self._password.get_secret_value(),
                }
                status, answer = await self._send("POST", "/auth/token", "", None, login)
                if status >= 400:
                    raise ProblemError(
                        503,
                        "airflow_unavailable",
                        f"Airflow does not let the account {self._user} in: {_detail(answer)}. "
                        "MILLRACE_AIRFLOW_QUERY_PASSWORD is what it signs in with.",
                        retry_after=30,
                    )
                self._token = answer["access_token"]
            return self._token

    async def _send(
        self,
        method: str,
        place: str,
        token: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
    ) -> tuple[int, Any]:
        if time.monotonic() < self._away_until:
            raise _away()
        try:
            answer = await self._session.request(
                method,
                URL(self._base + place, encoded=True),
                params=dict(query or {}),
                data=None if body is None else orjson.dumps(body),
                headers={
                    "Content-Type": "application/json",
                    **({"Authorization": f"Bearer {token}"} if token else {}),
                },
            )
            async with answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._away_until = time.monotonic() + AGAIN_SECONDS
            raise _away() from error
        if answer.status in AWAY:
            self._away_until = time.monotonic() + AGAIN_SECONDS
            raise _away()
        return answer.status, _parsed(content)


def _away() -> ProblemError:
    return ProblemError(
        503,
        "airflow_unavailable",
        "Airflow does not answer, so that jobs can be neither seen nor started; ./millrace status "
        "says more.",
        retry_after=5,
    )


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        return {"detail": content.decode("utf-8", "replace")[:300]}


def _detail(answer: Any) -> str:
    detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
    if isinstance(detail, list):  # as FastAPI describes what does not fit
        return "; ".join(str(one.get("msg", one)) for one in detail)
    if isinstance(detail, dict):
        return str(detail.get("reason") or detail.get("message") or detail)
    return str(detail)
