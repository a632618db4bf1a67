"""Whoever asks for numbers may say the same, by whichever way they ask."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from tests.unit.query.test_questions import ANYONE

from millrace.api.query import graph
from millrace.api.query.questions import NOT_OURS, PARAMETERS
from millrace.api.query.routes import live, metrics

ALL = {*PARAMETERS, *NOT_OURS}
OTHERWISE = {"name", "group_by", "filter"}
"""Texts in an address, lists and documents elsewhere, so that other words describe them."""
ARGUMENTS = "{ __schema { queryType { fields { name args { name description } } } } }"


@pytest.fixture(scope="module")
def described() -> dict[str, dict[str, str]]:
    """What each way to ask takes, and says of it."""
    app = FastAPI()
    app.include_router(metrics.router)
    app.include_router(live.router)
    document = app.openapi()
    found = {}
    for path in ("/v1/metrics", "/v1/live"):
        parameters = document["paths"][path]["get"]["parameters"]
        found[path] = {one["name"]: one["description"] for one in parameters}
    members = document["components"]["schemas"]["QueryDocument"]["properties"]
    found["/v1/query"] = {_name(key): one.get("description", "") for key, one in members.items()}
    context: Any = SimpleNamespace(whose=ANYONE)
    told = asyncio.run(graph.execute(ARGUMENTS, {}, None, context))["data"]
    (answer,) = [one for one in told["__schema"]["queryType"]["fields"] if one["name"] == "answer"]
    found["GraphQL"] = {_name(one["name"]): one["description"] for one in answer["args"]}
    return found


def _name(name: str) -> str:
    """A parameter's name, of which some are written otherwise: ``metrics``, ``groupBy``."""
    name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
    return {"metrics": "name"}.get(name, name)


@pytest.mark.parametrize(
    ("way", "without"),
    [
        ("/v1/metrics", set()),
        ("/v1/query", set()),
        ("/v1/live", {"cursor", "format"}),  # it streams the largest groups, as JSON
        ("GraphQL", {"format"}),  # its answers have its own
    ],
)
def test_every_way_to_ask_takes_the_same_and_says_the_same_of_it(
    described: dict[str, dict[str, str]], way: str, without: set[str]
) -> None:
    assert set(described[way]) == ALL - without
    for name in ALL - without - OTHERWISE:
        assert described[way][name] == described["/v1/metrics"][name], name
