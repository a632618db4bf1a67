"""Other people's SDKs, unmodified, through the whole pipeline: each event is somewhere, once."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conformance.clients import CLIENTS, EVENTS, Client
from tests.conformance.front import BAD, GOOD
from tests.helpers import toolchains
from tests.integration.ingestion_bed import Sender, rows

from millrace.rules import store
from millrace.settings import Settings
from millrace.stores import sql
from millrace.usecases import gates

AT_ONCE = 4
SERVERS = [client for client in CLIENTS if client.where != "browser"]
"""Those that run where a program does; browsers' have their tests on the routes."""


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

    def run(client: Client) -> None:
        if client.where == "python":
            driver = [str(toolchains.clients_python()), str(toolchains.PYTHON / "send.py")]
        else:
            driver = [toolchains.node_packages(toolchains.NODE), str(toolchains.NODE / "send.mjs")]
        told = {"one": {"url": ingestion_api, "key": sender.key, "events": events_of(client)}}
        done = subprocess.run(
            [*driver, client.name], input=json.dumps(told), capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{client}: {done.stdout}{done.stderr}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, SERVERS))
    sender.bed.load()
    found: dict[str, list[str]] = defaultdict(list)
    for (properties,) in rows(sender, "events", "properties"):
        found[properties.get("mark") or properties.get("label", "")].append("")
    for value, reason in rows(sender, "rejected_events", "value, reason"):
        message = json.loads(value)
        found[message.get("mark") or message.get("label", "")].append(reason)
    return found


@pytest.mark.parametrize("client", SERVERS, ids=str)
def test_every_event_is_stored_once_or_rejected_once(
    stored: Mapping[str, list[str]], client: Client
) -> None:
    marks = [event["mark"] for event in events_of(client)]
    assert [stored.get(mark) for mark in marks] == [[""], ["unknown_event_type"], [""]]
