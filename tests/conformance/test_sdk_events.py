"""Other people's SDKs, unmodified, through the whole pipeline: each event is somewhere, once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.conformance import drivers
from tests.conformance.clients import CLIENTS, EVENTS, Client
from tests.conformance.front import BAD, GOOD
from tests.integration.ingestion_bed import Sender, rows

from millrace import waiting
from millrace.rules import store
from millrace.settings import Settings
from millrace.stores import sql
from millrace.usecases import gates

AT_ONCE = 4


def events_of(client: Client) -> list[dict[str, str]]:
    """Three events, of which the second has a name that nobody knows."""
    return [
        {"name": BAD if n == 1 else GOOD, "user": f"user {n}", "mark": f"{client} {n}"}
        for n in range(EVENTS)
    ]


@pytest.fixture(scope="module")
def stored(settings: Settings, ingestion_api: str) -> Mapping[str, list[str]]:
    """What became of each event, by its mark: a reason for each place where it was rejected."""
    sender = Sender(settings, ingestion_api, "refuse")

    def register(connection: store.Connection) -> None:
        statement = sql.render("postgres/rules/register_event_type.sql")
        connection.execute(statement, {"event_type": GOOD, "description": "of a test"})

    gates.change(settings, register)

    def told(client: Client) -> dict[str, Any]:
        return {"one": {"url": ingestion_api, "key": sender.key, "events": events_of(client)}}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        servers = [client for client in CLIENTS if client.where != "browser"]
        list(pool.map(lambda client: drivers.run(client, told(client)), servers))
    for client in CLIENTS:
        if client.where == "browser":
            with drivers.in_browser(client, told(client)):
                waiting.until(
                    lambda client=client: marks(client) <= found(sender).keys(),
                    f"the events of {client}",
                    seconds=60,
                    every=1,
                )
    return found(sender)


def marks(client: Client) -> set[str]:
    """Return the marks of a client's events."""
    return {event["mark"] for event in events_of(client)}


def found(sender: Sender) -> Mapping[str, list[str]]:
    """Load what came; return what became of each event, by its mark."""
    sender.bed.load()
    places: dict[str, list[str]] = defaultdict(list)
    for (properties,) in rows(sender, "events", "properties"):
        places[properties.get("mark") or properties.get("label", "")].append("")
    for value, reason in rows(sender, "rejected_events", "value, reason"):
        message = json.loads(value)
        places[message.get("mark") or message.get("label", "")].append(reason)
    return places


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_every_event_is_stored_once_or_rejected_once(
    stored: Mapping[str, list[str]], client: Client
) -> None:
    sent = [event["mark"] for event in events_of(client)]
    assert [stored.get(mark) for mark in sent] == [[""], ["unknown_event_type"], [""]]
