"""What actual in the warehouse, held against what was deployed.

A deployment records how the warehouse describes each model once it is in place: a table's engine,
keys and columns, a view's statement. A warehouse restored from before, or changed by hand, differs.
"""

from __future__ import annotations

import json
from pathlib import Path

from clickhouse_connect.driver.client import Client

from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.transform import leftovers, project
from millrace.transform.manifest import models

FILE = "standing.json"


def record(client: Client, folder: Path) -> None:
    """Write down how the warehouse describes what actual in production, beside the manifest."""
    (folder / FILE).write_text(json.dumps(_describe(client), indent=1) + "\n")


def differences(settings: Settings) -> list[str]:
    """Return, in words, how production differs from what was deployed; nothing if it does not.

    A view that was withdrawn is no difference.
    """
    folder = project.deployed(settings) / "target"
    if not (folder / "manifest.json").exists():
        return ["nothing was deployed yet"]
    deployed = models(folder / "manifest.json")
    expected = {m.name for m in deployed} | {f"{m.name}_mv" for m in deployed if m.is_rollup}
    with postgres.connect(settings) as connection:
        expected -= {one.view.split(".", 1)[1] for one in leftovers.withdrawn(connection)}
    with clickhouse.connect(settings, "dbt") as client:
        actual = _describe(client)
    found = [f"{name} is not there" for name in sorted(expected - actual.keys())]
    if (folder / FILE).exists():  # releases from before have none
        recorded = json.loads((folder / FILE).read_text())
        found += [
            f"{name} is not as it was deployed"
            for name in sorted(expected & actual.keys() & recorded.keys())
            if actual[name] != recorded[name]
        ]
    return found


def _describe(client: Client) -> dict[str, list[str]]:
    rows = client.query(
        sql.render("clickhouse/transform/standing.sql"), parameters={"database": project.PRODUCTION}
    ).result_rows
    return {name: [str(value) for value in values] for name, *values in rows}
