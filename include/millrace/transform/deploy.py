"""Deploying the dbt project: only what changed, in a shadow, swapped when its tests pass.

The last deployed project lies in ``$MILLRACE_HOME/dbt/deployed`` with its manifest;
``build_models`` runs that copy, so that a half-edited or broken model never reaches it.
A deployment

1. compares the project with the deployed manifest (dbt's ``state:modified+``);
2. creates the changed rollups in ``analytics_shadow``, empty but already fed by ingest;
3. draws a line, under the publication lock: empties them again, and clones the tables they read
   (hard links, no copying). From here on ingest fills them, and what came before is in the clones;
4. fills in history from the clones, a day at a time;
5. builds the other changed models beside them, with unchanged ones deferred to production, and
   tests everything that changed;
6. swaps, under the publication lock, so that no insert falls between an old rollup and its
   successor; then remembers the project as deployed, and describes it (``docs``).

A failure before the swap leaves production as it was. A swap that was cut short leaves a mark, and
the next deployment builds everything anew.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client

from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, profiles, publication, sql
from millrace.transform import docs, project, watermark
from millrace.transform.ddl import Ddl

log = logging.getLogger(__name__)


class DeploymentError(RuntimeError):
    """The change was not deployed; production is as it was. The message says why."""


@dataclass(frozen=True)
class Deployment:
    """What a deployment did."""

    release: str
    built: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything in production changed."""
        return bool(self.built or self.removed)


@dataclass(frozen=True)
class Model:
    """A model of a manifest, as far as deploying it matters."""

    unique_id: str
    name: str
    materialized: str
    compiled: str
    parents: tuple[str, ...]

    @property
    def is_rollup(self) -> bool:
        """Whether ingest fills it, through a materialized view."""
        return self.materialized == "materialized_view"

    @property
    def is_table(self) -> bool:
        """Whether it holds rows of its own."""
        return self.materialized != "view"


def is_deployed(settings: Settings, source: Path = project.SOURCE) -> bool:
    """Whether the project in ``source`` is, as it is now, the one that stands in the warehouse."""
    return (
        project.deployed(settings).resolve().name == _release(settings, source)
        and not _interrupted(settings).exists()
        and not _is_incomplete(settings)
    )


def _release(settings: Settings, source: Path) -> str:
    return project.fingerprint(source) + _kept(settings)


def _kept(settings: Settings) -> str:
    """Return how a release's name ends: by the setting that models read (macro ``kept_days``)."""
    return f"-kept-{settings.events_retention_days}-days"


def deploy(
    settings: Settings, source: Path = project.SOURCE, *, say: Callable[[str], None] = log.info
) -> Deployment:
    """Bring production to the project in ``source``; do nothing if it is there already.

    ``say`` is told what goes on. Raises ``DeploymentError`` when a changed model fails to build or
    to pass its tests.
    """
    release = _release(settings, source)
    with postgres.connect(settings) as ledger, _lock(ledger, "millrace.transform"):
        if is_deployed(settings, source):
            return Deployment(release)
        copy = settings.home / "dbt" / "releases" / release
        project.copy(source, copy)
        try:
            done = _Deployer(settings, ledger, copy, say).run()
        except project.DbtError as error:
            raise DeploymentError(
                f"{error}\nProduction still has the last good version. Mend the model, then run "
                "`./millrace dbt deploy` again."
            ) from error
        say(f"documentation with lineage: {docs.publish(settings, project.deployed(settings))}")
        return done


class _Deployer:
    def __init__(
        self,
        settings: Settings,
        ledger: psycopg.Connection[Any],
        copy: Path,
        say: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.copy = copy
        self.say = say
        self.base = clickhouse.database(settings)
        self.ddl = Ddl(settings.clickhouse_cluster)
        self.deployed = project.deployed(settings)
        self.anew = (
            _interrupted(settings).exists()
            or _is_incomplete(settings)
            or not self.deployed.resolve().name.endswith(_kept(settings))  # dbt does not see this
        )
        self.state = str(self.deployed / "target")
        self.beside = settings.home / "dbt" / project.SHADOW / "state"
        self.client: Client = clickhouse.connect(settings, "dbt")

    def run(self) -> Deployment:
        try:
            profiles.ensure(self.settings)
            watermark.record_published_through(self.settings)
            self._command(self.ddl.drop_database(project.SHADOW))
            self._command(self.ddl.create_database(project.SHADOW))
            changed = self._changed()
            removed = self._removed()
            if changed:
                self.say(f"building {len(changed)} changed models beside production")
                self._build(changed)
                self.say("tests passed, swapping")
            self._swap(changed, removed)
            self._command(self.ddl.drop_database(project.SHADOW))
        finally:
            self.client.close()
        return Deployment(self.copy.name, [m.name for m in changed], [m.name for m in removed])

    def _changed(self) -> list[Model]:
        """Return the models to build, parents first, with the SQL they have in production."""
        options = ["--resource-type", "model", "--output", "name"]
        options += [] if self.anew else ["--select", "state:modified+", "--state", self.state]
        chosen = set(self._dbt("ls", project.PRODUCTION, options))
        self._dbt("compile", project.PRODUCTION, ["--select", "resource_type:model"])
        return [m for m in _models(self._manifest(project.PRODUCTION)) if m.name in chosen]

    def _removed(self) -> list[Model]:
        if self.anew:
            return []
        now = {m.unique_id for m in _models(self._manifest(project.PRODUCTION))}
        before = _models(self.deployed / "target" / "manifest.json")
        return [m for m in before if m.unique_id not in now]

    def _build(self, changed: list[Model]) -> None:
        rollups = [m for m in changed if m.is_rollup]
        others = [m for m in changed if not m.is_rollup]
        if not self.anew:
            self._look_beside(changed)
        if rollups:
            self._dbt("run", project.SHADOW, self._on(rollups))
            self._fill(rollups)
        if others:
            self._dbt("run", project.SHADOW, self._on(others))
        self._dbt("test", project.SHADOW, self._on(changed))

    def _on(self, models: list[Model]) -> list[str]:
        """Return dbt's options to take these models, and others from where they are newest."""
        options = ["--select", *(m.name for m in models)]
        if self.anew:
            return options
        return [*options, "--defer", "--favor-state", "--state", str(self.beside)]

    def _look_beside(self, changed: list[Model]) -> None:
        """Write the state that the shadow defers to: what is deployed, with what changed beside it.

        dbt's own deferral sends a model's test to production, even if the model is in the shadow.
        """
        state = json.loads((self.deployed / "target" / "manifest.json").read_text())
        for model in changed:
            if model.unique_id in state["nodes"]:
                state["nodes"][model.unique_id] |= {
                    "schema": project.SHADOW,
                    "relation_name": f"`{project.SHADOW}`.`{model.name}`",
                }
        self.beside.mkdir(parents=True, exist_ok=True)
        (self.beside / "manifest.json").write_text(json.dumps(state))

    def _fill(self, rollups: list[Model]) -> None:
        """Give the shadow's rollups their history, each row once."""
        inside = {m.unique_id for m in rollups}
        first = [m for m in rollups if not inside & set(m.parents)]
        shadow = {m.unique_id: m for m in _models(self._manifest(project.SHADOW))}
        sources = _relations(self._manifest(project.SHADOW))
        read = {m.unique_id: next(p for p in shadow[m.unique_id].parents) for m in first}
        clones = {
            parent: f"{project.SHADOW}.history_{number}"
            for number, parent in enumerate(sorted(set(read.values())))
        }
        origins = {
            parent: sources[parent] if parent.startswith("source.") else self._production(parent)
            for parent in clones
        }
        with self._no_publishing():
            for model in rollups:
                self._command(self.ddl.truncate(f"{project.SHADOW}.{model.name}"))
            for parent, clone in clones.items():
                for statement in self.ddl.copy(clone, origins[parent]):
                    self._command(statement)
        for model in first:
            parent = read[model.unique_id]
            clone = clones[parent]
            statement = sql.render(
                "clickhouse/transform/fill.sql",
                target=f"{project.SHADOW}.{model.name}",
                select=shadow[model.unique_id].compiled.replace(origins[parent], clone),
            )
            days = self.client.query(
                sql.render("clickhouse/transform/days.sql"),
                parameters={"database": project.SHADOW, "table": clone.split(".")[1]},
            ).result_rows
            for (day,) in days:
                only = f"{{'{clone}': '_partition_id = \\'{day}\\''}}"
                self._command(statement, settings={"additional_table_filters": only})
            self.say(f"filled {model.name} with {len(days)} days of history")
        for clone in clones.values():
            self._command(self.ddl.drop_table(clone))

    def _swap(self, changed: list[Model], removed: list[Model]) -> None:
        mark = _interrupted(self.settings)
        with self._no_publishing():
            mark.touch()
            for model in changed:
                self._publish(model)
            for model in removed:
                name = f"{project.PRODUCTION}.{model.name}"
                self._command(self.ddl.drop_table(f"{name}_mv"))
                self._command(self.ddl.drop_table(name))
            self._remember()
            mark.unlink()

    def _publish(self, model: Model) -> None:
        name, view = f"{project.PRODUCTION}.{model.name}", f"{project.PRODUCTION}.{model.name}_mv"
        shadow = f"{project.SHADOW}.{model.name}"
        self._command(self.ddl.drop_table(view))
        if not model.is_table:
            if self._engine(model.name) not in ("", "View"):
                self._command(self.ddl.drop_table(name))
            self._command(self.ddl.create_view(name, model.compiled))
            return
        if self._engine(model.name):
            self._command(self.ddl.exchange(name, shadow))
        else:
            self._command(self.ddl.rename(shadow, name))
        if model.is_rollup:
            self._command(self.ddl.drop_table(f"{shadow}_mv"))
            self._command(self.ddl.create_materialized_view(view, name, model.compiled))

    def _remember(self) -> None:
        """Make the release the deployed one, and forget those before it."""
        target = self.copy / "target"
        shutil.copytree(self._target(project.PRODUCTION), target, dirs_exist_ok=True)
        link = self.deployed.with_name("deployed.new")
        link.unlink(missing_ok=True)
        link.symlink_to(self.copy)
        link.replace(self.deployed)
        for old in self.copy.parent.iterdir():
            if old != self.copy:
                shutil.rmtree(old)

    def _no_publishing(self) -> AbstractContextManager[None]:
        return publication.settled(
            self.ledger, self.client, f"{self.base}.events", error=DeploymentError
        )

    def _dbt(self, command: str, target: str, options: list[str]) -> Any:
        variables = project.environment(self.settings, target, project=self.copy)
        return project.run([command, "--target", target, *options], variables)

    def _manifest(self, target: str) -> Path:
        return self._target(target) / "manifest.json"

    def _target(self, target: str) -> Path:
        variables = project.environment(self.settings, target, project=self.copy)
        return Path(variables["DBT_TARGET_PATH"])

    def _production(self, unique_id: str) -> str:
        return _relations(self.deployed / "target" / "manifest.json")[unique_id]

    def _engine(self, name: str) -> str:
        rows = self.client.query(
            "SELECT engine FROM system.tables WHERE database = {d:String} AND name = {n:String}",
            parameters={"d": project.PRODUCTION, "n": name},
        ).result_rows
        return rows[0][0] if rows else ""

    def _command(self, statement: str, settings: dict[str, str] | None = None) -> None:
        self.client.command(statement, settings=settings)


def _is_incomplete(settings: Settings) -> bool:
    """Whether the warehouse lacks a model that was deployed (it may have been lost), or all."""
    manifest = project.deployed(settings) / "target" / "manifest.json"
    if not manifest.exists():
        return True
    models = _models(manifest)
    expected = {m.name for m in models} | {f"{m.name}_mv" for m in models if m.is_rollup}
    with closing(clickhouse.connect(settings, "dbt")) as client:
        standing = client.query(
            sql.render("clickhouse/transform/standing.sql"),
            parameters={"database": project.PRODUCTION},
        )
    return not expected <= {name for (name,) in standing.result_rows}


def _interrupted(settings: Settings) -> Path:
    return settings.home / "dbt" / "swap-under-way"


def _models(manifest: Path) -> list[Model]:
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
        )

    for key in nodes:
        add(key)
    return list(ordered.values())


def _relations(manifest: Path) -> dict[str, str]:
    """Return the quoted name of every model and source of a manifest, by its id."""
    content = json.loads(manifest.read_text())
    return {
        key: node["relation_name"]
        for key, node in (content["nodes"] | content["sources"]).items()
        if node.get("relation_name")
    }


@contextmanager
def _lock(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """Hold an advisory lock exclusively."""
    connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [name])
