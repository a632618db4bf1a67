"""The APIs as processes of the stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from millrace.settings import Settings
from millrace.stack.server import Server, StackError


def servers(settings: Settings) -> Iterator[Server]:
    """Describe the ingestion API, which keeps events while Kafka is away, and the query API."""
    host = urlsplit(settings.api_url("ingestion")).hostname
    grpc = {"grpc": f"grpc://{host}:{settings.port('ingestion_grpc')}"}
    yield _server(settings, "ingestion", stop_seconds=30, **grpc)
    yield _server(settings, "query", stop_seconds=20)


def _server(settings: Settings, name: str, *, stop_seconds: int, **addresses: str) -> Server:
    folder = settings.home / name
    url = settings.api_url(name)

    def check() -> None:
        answer = httpx.get(f"{url}/readyz", timeout=5)
        if answer.status_code != 200:
            raise StackError(" ".join(answer.json()["problems"]))

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)

    return Server(
        name=f"{name}-api",
        command=[sys.executable, "-m", f"millrace.api.{name}"],
        check=check,
        directory=folder,
        port=settings.port(f"{name}_api"),
        addresses={"http": url, **addresses},
        group="apis",
        prepare=prepare,
        stop_seconds=stop_seconds,
    )
