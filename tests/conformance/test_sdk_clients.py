"""Other people's SDKs, unmodified, as pinned: how often each sends, and what becomes of its events.

Each client meets the routes of its family in every case at once, the first request of a case being
answered as the family answers that fault. What is behind the routes has tests of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from tests.conformance import clients, drivers
from tests.conformance.clients import CLIENTS, Client
from tests.conformance.front import BAD, GOOD, KEY, Front
from tests.helpers import proxy

from millrace import waiting

Fronts = Mapping[str, Front]

AT_ONCE = 4
"""Clients that run at a time: most of it is waiting for their next try."""


def events_of(client: Client, case: str) -> list[dict[str, str]]:
    return [
        {
            "name": BAD if case == clients.BAD_EVENT and n == 1 else GOOD,
            "user": f"user {n}",
            "mark": f"{client} {case} {n}",
        }
        for n in range(clients.EVENTS)
    ]


def run(client: Client, start: ExitStack) -> Fronts:
    """Have a client send in each of its cases; return what it met."""
    fronts = {case: Front(list(clients.PROBLEMS[case])) for case in client.cases}
    told = {
        case: {
            "url": start.enter_context(proxy.running(judge=front.answer)).url,
            "key": "wrong" if case == clients.WRONG_KEY else KEY,
            "events": events_of(client, case),
        }
        for case, front in fronts.items()
    }
    if client.where == "browser":
        with drivers.in_browser(client, told):
            for case, front in fronts.items():
                waiting.until(
                    lambda front=front, case=case: (
                        len(front.requests) >= client.requests_in(case)[0]
                    ),
                    f"the requests of {client} in the case {case}",
                    seconds=60,
                    hint=lambda front=front: f"{front.requests} came",
                )
    else:
        drivers.run(client, told)
    return fronts


@pytest.fixture(scope="module")
def met() -> Iterator[Mapping[Client, Future[Fronts]]]:
    """What each client met; all of them run while the first test waits."""
    with ExitStack() as start, ThreadPoolExecutor(AT_ONCE) as pool:
        slow_ones_first = sorted(CLIENTS, key=lambda client: client.name != "amplitude")
        yield {client: pool.submit(run, client, start) for client in slow_ones_first}


CASES = [(client, case) for client in CLIENTS for case in client.cases]


def mark(event: Mapping[str, Any]) -> str:
    """Return the mark of an event, wherever its family puts it."""
    return str(event.get("mark") or event.get("label"))


@pytest.mark.parametrize(("client", "case"), CASES, ids=[f"{a}: {b}" for a, b in CASES])
def test_a_client_in_a_case(
    met: Mapping[Client, Future[Fronts]], client: Client, case: str
) -> None:
    front = met[client].result()[case]
    sent = events_of(client, case)
    statuses = [status for _path, status in front.requests]
    assert len(statuses) in client.requests_in(case), statuses
    if case == clients.WRONG_KEY:
        assert set(statuses) == {401}
    elif client.does.get(case, clients.AGAIN) != clients.DROP:
        assert statuses[-1] == 200

    times = Counter(mark(event) for event in front.taken)
    arrived = {sent[n]["mark"] for n in client.arrive(case)}
    if client.is_ordered or case == clients.BAD_EVENT:
        assert times.keys() == arrived
    else:
        assert len(times) == len(arrived)
    by_id = {event["event_id"]: mark(event) for event in front.taken}
    if client.has_ids:  # what was sent twice is known to be the same
        assert Counter(by_id.values()) == Counter(times.keys())
    if case != clients.ANSWER_LOST:
        assert set(times.values()) <= {1}

    rejected = [sent[1]["mark"]] if case == clients.BAD_EVENT else []
    assert [mark(event) for event in front.rejected] == rejected
