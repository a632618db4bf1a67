"""Which columns the dbt project names that do not exist, found by the engine without any rows."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.transform import project

EMPTY = project.SHADOW
"""The target whose tables are made here, empty, and dropped again."""


def missing(settings: Settings, source: Path) -> dict[str, str]:
    """Return what the engine says of each model, test or branch that names an unknown column.

    Every model is made an empty table of the columns that its SQL yields, parents first, so that a
    child finds just those. Models that read one that cannot be made are left out. Then all of them
    are tables that stand, and the SQL that incremental models have from the second run on is looked
    at, and that of data tests.
    """
    with closing(clickhouse.connect(settings)) as client:
        client.command(f"DROP DATABASE IF EXISTS {EMPTY} SYNC")
        client.command(f"CREATE DATABASE {EMPTY}")
        try:
            first = _compile(settings, source, "resource_type:model")
            found = _create(client, first)
            if found:
                return found
            return _describe(client, _compile(settings, source))
        finally:
            client.command(f"DROP DATABASE {EMPTY} SYNC")


def _compile(settings: Settings, source: Path, *select: str) -> list[dict[str, Any]]:
    variables = project.environment(settings, EMPTY, project=source)
    options = ["--select", *select] if select else []
    project.run(["compile", "--target", EMPTY, *options], variables)
    manifest = json.loads((Path(variables["DBT_TARGET_PATH"]) / "manifest.json").read_text())
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "test") and node.get("compiled_code")
    ]


def _create(client: Client, nodes: list[dict[str, Any]]) -> dict[str, str]:
    waiting = [n for n in nodes if n["resource_type"] == "model"]
    lacking = {n["unique_id"] for n in waiting}
    found: dict[str, str] = {}
    while ready := [n for n in waiting if not lacking & set(n["depends_on"]["nodes"])]:
        for node in ready:
            waiting.remove(node)
            try:
                client.command(
                    f"CREATE TABLE {node['relation_name']} ENGINE = ReplacingMergeTree"
                    f" ORDER BY tuple() EMPTY AS {node['compiled_code']}"
                )
            except DatabaseError as error:
                found[node["name"]] = str(error)
            else:
                lacking.remove(node["unique_id"])
    return found


def _describe(client: Client, nodes: list[dict[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in nodes:
        try:
            client.query(f"DESCRIBE ({node['compiled_code']})")
        except DatabaseError as error:
            found[node["name"]] = str(error)
    return found
