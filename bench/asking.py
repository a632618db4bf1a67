"""What asks the query API in a benchmark: its process, questions of dashboards, connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench import rollups
from millrace.access import tokens
from millrace.stack.stack import Stack
from millrace.stores import postgres


class Server:
    """The API that is asked, and its process."""

    def __init__(self, stack: Stack, token: str) -> None:
        self._stack = stack  # with the APIs
        self.url = stack.servers["query-api"].addresses["http"]
        self.token = token

    def pieces(self) -> Counter[str]:
        """Return how many pieces of answers it has given, by where they were found."""
        text = httpx.get(
            f"{self.url}/metrics", headers={"authorization": f"Bearer {self.token}"}, timeout=60
        ).text
        return Counter(
            {
                sample.labels["layer"]: int(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "millrace_query_cache_answers_total"
            }
        )

    def cpu(self) -> float:
        """Return the processor seconds that it has used."""
        main = psutil.Process(self._stack.pid("query-api"))
        return sum(sum(one.cpu_times()[:2]) for one in [main, *main.children(recursive=True)])


@contextmanager
def serving(stack: Stack) -> Iterator[Server]:
    """Run the API on the stack."""
    with_apis = Stack(with_airflow=False, with_apis=True)
    with_apis.configure()
    with_apis.start("query-api")
    with_apis.wait_healthy("query-api", 60)
    with postgres.connect(stack.settings) as connection:
        token = tokens.add(connection, tokens.NewToken("bench", "admin"))
    server = Server(with_apis, token)
    yield server
    with_apis.stop("query-api")


def questions(count: int, seed: int) -> list[dict[str, str]]:
    """Return different questions, as dashboards ask them."""
    draw = random.Random(seed)
    countries, devices = list(rollups.COUNTRIES), list(rollups.DEVICES)
    kinds = list(rollups.TYPES)
    found: dict[str, dict[str, str]] = {}
    while len(found) < count:
        asked = {"name": draw.choice(["events", "page_views"])}
        asked |= draw.choice(
            [
                {"range": "7d", "interval": "1h"}, {"range": "24h", "interval": "15min"},
                {"range": "24h", "interval": "1h"}, {"range": "7d", "interval": "1d"},
                {"range": "7d", "group_by": "country"}, {"range": "6h", "interval": "5min"},
                {"range": "last_week", "interval": "1h"},
            ]
        )  # fmt: skip
        conditions = [f"country:{draw.choice(countries)}"] * draw.randint(0, 1)
        conditions += [f"device:{draw.choice(devices)}"] * draw.randint(0, 1)
        if asked["name"] == "events" and draw.random() < 0.7:
            conditions.append(f"event_type:{draw.choice(kinds)}")
        if asked["name"] == "page_views" and draw.random() < 0.7:
            conditions.append(f"page:/product/{draw.randint(2, 399)}")
        if conditions and not (asked.get("group_by") and conditions[0].startswith("country")):
            asked["filter"] = ",".join(conditions)
        found[urlencode(asked)] = asked
    return list(found.values())


class Connection:
    """One connection that asks and waits for the answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._place = urlsplit(server.url)

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(
            self._place.hostname, self._place.port
        )

    async def ask(
        self, asked: dict[str, str], etag: str = "", *, may_be_busy: bool = False
    ) -> tuple[float, str, bytes, str]:
        """Return seconds, what the cache said (or the status), the body, and the ETag."""
        extra = f"if-none-match: {etag}\r\n" if etag else ""
        request = (
            f"GET /v1/metrics?{urlencode(asked)} HTTP/1.1\r\nhost: bench\r\n"
            f"authorization: Bearer {self._server.token}\r\n{extra}\r\n"
        )
        began = time.perf_counter()
        self._writer.write(request.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split(" ", 2)[1]
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        length = int(headers.get("content-length", 0)) if status != "304" else 0
        body = await self._reader.readexactly(length)
        took = time.perf_counter() - began
        if status not in ("200", "304") and not (may_be_busy and status == "503"):
            raise RuntimeError(f"{asked}: {head}{body.decode()}")
        return took, headers.get("x-cache", status), body, headers.get("etag", "")

    def close(self) -> None:
        """Go."""
        self._writer.close()
