"""What dbt's manifest says of models, as far as deploying them matters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from millrace.stores.quoting import identifier


@dataclass(frozen=True)
class Model:
    """A model of a manifest."""

    unique_id: str
    name: str
    materialized: str
    compiled: str
    parents: tuple[str, ...]
    engine: str = ""
    description: str = ""
    time: str = ""
    """What its age is counted from, by its ``ttl``; empty if it has none."""

    @property
    def is_rollup(self) -> bool:
        """Whether ingest fills it, through a materialized view."""
        return self.materialized == "materialized_view"

    @property
    def is_table(self) -> bool:
        """Whether it holds rows of its own."""
        return self.materialized != "view"


def models(manifest: Path) -> list[Model]:
    """Return a manifest's models, parents before children."""
    nodes = {
        key: node
        for key, node in json.loads(manifest.read_text())["nodes"].items()
        if node["resource_type"] == "model"
    }
    ordered: dict[str, Model] = {}

    def add(key: str) -> None:
        if key in ordered or key not in nodes:
            return
        node = nodes[key]
        for parent in node["depends_on"]["nodes"]:
            add(parent)
        ordered[key] = Model(
            unique_id=key,
            name=node["alias"],
            materialized=node["config"]["materialized"],
            compiled=node.get("compiled_code") or "",
            parents=tuple(node["depends_on"]["nodes"]),
            engine=node["config"].get("engine") or "",
            description=" ".join((node.get("description") or "").split()),
            time=str(node["config"].get("ttl") or "").partition("+")[0].strip(),
        )

    for key in nodes:
        add(key)
    return list(ordered.values())


def relations(manifest: Path) -> dict[str, str]:
    """Return the quoted name of every model and source of a manifest, by its id."""
    content = json.loads(manifest.read_text())
    return {
        key: node["relation_name"]
        for key, node in (content["nodes"] | content["sources"]).items()
        if node.get("relation_name")
    }


def elsewhere(manifest: str, moved: Iterable[Model], database: str) -> str:
    """Return a manifest's text in which some of its models lie in another database.

    dbt's own deferral sends a model's test to production, even if the model is in the shadow.
    """
    content = json.loads(manifest)
    for model in moved:
        if model.unique_id in content["nodes"]:
            content["nodes"][model.unique_id] |= {
                "schema": database,
                "relation_name": identifier(database, model.name),
            }
    return json.dumps(content)
