"""Deploying the dbt project: only what changed, in a shadow, swapped when its tests pass.

The last deployed project lies in ``$MILLRACE_HOME/dbt/deployed`` with its manifest;
``build_models`` runs that copy, so that a half-edited or broken model never reaches it.
A deployment

1. compares the project with the deployed manifest (dbt's ``state:modified+``);
2. creates the changed rollups in ``analytics_shadow``, and tries them on clones of the tables they
   read (hard links, no copying), a day at a time: one that throws fails here, before a view hangs
   on anything that ingest inserts into;
3. draws a line, under the publication lock: empties them again, hangs their views, and clones
   again. From here on ingest fills them, and what came before is in the clones;
4. fills in history from the clones;
5. builds the other changed models beside them, with unchanged ones deferred to production, takes
   days along whose events are gone (``history``), and tests everything that changed; what others
   ask of them (``misfits``) is asked of these;
6. swaps, under the publication lock, so that no insert falls between an old rollup and its
   successor; then remembers the project as deployed, and describes it (``docs``).

A failure before the swap leaves production as it was, and nothing behind. What a killed one leaves
is removed by whoever looks next (``leftovers``). A swap that was cut short leaves a mark, and the
next deployment builds everything again; so it does where the warehouse is not as it was deployed. A
rollup whose view threw, and was taken out of ingest's path, is built again with all that it feeds.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.contract import publication
from millrace.settings import Settings
from millrace.stores import clickhouse, dictionaries, postgres, sql
from millrace.stores.errors import first_line
from millrace.transform import docs, history, leftovers, project, sorting_keys, standing, watermark
from millrace.transform.ddl import Ddl
from millrace.transform.manifest import Model, elsewhere, models, relations

log = logging.getLogger(__name__)

Misfits = Callable[[Mapping[str, str]], list[str]]
"""Says what others ask of tables, by name, that the ones to take their place don't answer."""


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


def is_deployed(settings: Settings, source: Path = project.SOURCE) -> bool:
    """Whether the project in ``source`` is, as it is now, the one that stands in the warehouse.

    The warehouse is asked: every table and view must be as it was deployed, and none withdrawn.
    """
    return (
        project.deployed(settings).resolve().name == _release(settings, source)
        and not _interrupted(settings).exists()
        and not leftovers.find(settings, of_models=True)
        and not standing.differences(settings)
    )


def _release(settings: Settings, source: Path) -> str:
    return project.fingerprint(source) + _kept(settings)


def _kept(settings: Settings) -> str:
    """Return how a release's name ends: by the setting that models read (macro ``kept_days``)."""
    return f"-kept-{settings.events_retention_days}-days"


def deploy(
    settings: Settings,
    source: Path = project.SOURCE,
    *,
    say: Callable[[str], None] = log.info,
    is_retry: bool = True,
    misfits: Misfits = lambda _: [],
) -> Deployment:
    """Bring production to the project in ``source``; do nothing if it is there already.

    ``say`` is told what goes on. A project that has failed to bring a withdrawn rollup back is
    tried again only with ``is_retry``. Raises ``DeploymentError`` when a changed model throws on
    what is there, fails to build or to pass its tests, or leaves ``misfits``.
    """
    release = _release(settings, source)
    with postgres.connect(settings) as ledger, leftovers.lock(ledger):
        for what in leftovers.clear(settings, ledger):
            say(f"removed what an earlier deployment left: {what}")
        if is_deployed(settings, source):
            return Deployment(release)
        withdrawn = leftovers.withdrawn(ledger)
        if not is_retry and any(one.tried_release == release for one in withdrawn):
            raise DeploymentError(
                "\n".join(map(str, withdrawn)) + "\nIts model has not changed since the last try."
            )
        copy = settings.home / "dbt" / "releases" / release
        if not (copy.exists() and copy == project.deployed(settings).resolve()):
            project.copy(source, copy)  # over the deployed one it would take the state away
        try:
            done = _Deployer(settings, ledger, copy, say, misfits).run()
        except (project.DbtError, DeploymentError) as error:
            leftovers.note_try(ledger, release)
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
        misfits: Misfits,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.copy = copy
        self.say, self.misfits = say, misfits
        self.base = clickhouse.database(settings)
        self.ddl = Ddl(settings.clickhouse_cluster)
        self.deployed = project.deployed(settings)
        self.withdrawn = leftovers.withdrawn(ledger)
        self.is_full_refresh = (
            _interrupted(settings).exists()
            or bool(standing.differences(settings))
            or not self.deployed.resolve().name.endswith(_kept(settings))  # dbt does not see this
        )
        self.state = str(self.deployed / "target")
        self.beside = settings.home / "dbt" / project.SHADOW / "state"
        self.client: Client = clickhouse.connect(settings, "dbt")
        self.hung_at: datetime | None = None

    def run(self) -> Deployment:
        try:
            dictionaries.ensure(self.settings)
            watermark.record_published_through(self.settings)
            self._command(self.ddl.create_database(project.SHADOW))
            changed = self._changed()
            removed = self._removed()
            if changed:
                what = "1 changed model" if len(changed) == 1 else f"{len(changed)} changed models"
                self.say(f"building {what} beside production")
                self._build(changed)
            self._demand_that_others_fit([*changed, *removed])
            if changed:
                self.say("tests passed, swapping")
            self._swap(changed, removed)
        finally:
            leftovers.clear(self.settings, self.ledger)
            self.client.close()
        return Deployment(self.copy.name, [m.name for m in changed], [m.name for m in removed])

    def _changed(self) -> list[Model]:
        """Return the models to build, parents first, with the SQL they have in production."""
        options = ["--resource-type", "model", "--output", "name"]
        if not self.is_full_refresh:
            again = [f"{name}+" for one in self.withdrawn for name in one.models]
            options += ["--select", "state:modified+", *again, "--state", self.state]
        chosen = set(self._dbt("ls", project.PRODUCTION, options))
        self._dbt("compile", project.PRODUCTION, ["--select", "resource_type:model"])
        return [m for m in models(self._manifest(project.PRODUCTION)) if m.name in chosen]

    def _removed(self) -> list[Model]:
        if self.is_full_refresh:
            return []
        now = {m.unique_id for m in models(self._manifest(project.PRODUCTION))}
        return [m for m in models(Path(self.state) / "manifest.json") if m.unique_id not in now]

    def _build(self, changed: list[Model]) -> None:
        rollups = [m for m in changed if m.is_rollup]
        others = [m for m in changed if not m.is_rollup]
        if not self.is_full_refresh:
            self.beside.mkdir(parents=True, exist_ok=True)
            before = (self.deployed / "target" / "manifest.json").read_text()
            (self.beside / "manifest.json").write_text(elsewhere(before, changed, project.SHADOW))
        if rollups:
            self._dbt("run", project.SHADOW, self._on(rollups))
            self._demand_dimensions(rollups)
            self._fill(rollups)
        if others:
            self._dbt("run", project.SHADOW, self._on(others))
            self._demand_dimensions(others)
        tables = [m for m in changed if m.is_table]
        for kept in history.take_along(self.settings, self.client, tables, error=DeploymentError):
            self.say(kept)
        self._dbt("test", project.SHADOW, self._on(changed))

    def _demand_dimensions(self, built: list[Model]) -> None:
        names = {model.name for model in built}
        for model in models(self._manifest(project.SHADOW)):
            if model.name not in names:
                continue
            if lacking := sorting_keys.outside(self.client, project.SHADOW, model):
                raise DeploymentError(
                    f"{model.name} tells its rows apart by {', '.join(lacking)}, which its "
                    "order_by lacks: merges would make one row of several. Add it there, or leave "
                    "it out."
                )

    def _demand_that_others_fit(self, models: list[Model]) -> None:
        found = self.misfits(
            {f"{project.PRODUCTION}.{m.name}": f"{project.SHADOW}.{m.name}" for m in models}
        )
        if found:
            raise DeploymentError("what reads the models no longer fits them:\n" + "\n".join(found))

    def _on(self, models: list[Model]) -> list[str]:
        """Return dbt's options to take these models, and others from where they are newest."""
        beside = ["--defer", "--favor-state", "--state", str(self.beside)]
        return ["--select", *(m.name for m in models), *([] if self.is_full_refresh else beside)]

    def _fill(self, rollups: list[Model]) -> None:
        """Try the shadow's rollups, then have ingest feed them and give them their history.

        dbt makes their tables only (macro ``clickhouse__create_mv``). Raises ``DeploymentError``
        when one throws.
        """
        inside = {m.unique_id for m in rollups}
        first = [m for m in rollups if not inside & set(m.parents)]
        shadow = {m.unique_id: m for m in models(self._manifest(project.SHADOW))}
        for model in rollups:
            if model not in first:
                self._hang(shadow[model.unique_id])
        # no view hangs on what ingest inserts into yet
        self._fill_from_clones(rollups, first, shadow, is_trial=True)
        self._fill_from_clones(rollups, first, shadow, is_trial=False)

    def _hang(self, model: Model) -> None:
        name = f"{project.SHADOW}.{model.name}"
        self._command(self.ddl.create_materialized_view(f"{name}_mv", name, model.compiled))

    def _fill_from_clones(
        self,
        rollups: list[Model],
        first: list[Model],
        shadow: dict[str, Model],
        *,
        is_trial: bool,
    ) -> None:
        """Fill the shadow's rollups from clones of what they read, each row once.

        Unless it ``is_trial``, their views are hung at the moment that the clones are of.
        """
        sources = relations(self._manifest(project.SHADOW))
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
            for model in () if is_trial else first:
                self._hang(shadow[model.unique_id])
            now = self.ledger.execute("SELECT clock_timestamp() AS now")
            self.hung_at = postgres.one(now)["now"]
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
                try:
                    self._command(statement, settings={"additional_table_filters": only})
                except ClickHouseError as error:
                    raise DeploymentError(
                        f"{model.name}, or a rollup that it feeds, throws on the events of {day}: "
                        f"{first_line(error)}"
                    ) from error
            done = "tried {} on {} days" if is_trial else "filled {} with {} days of history"
            self.say(done.format(model.name, len(days)))
        for clone in clones.values():
            self._command(self.ddl.drop_table(clone))

    def _swap(self, changed: list[Model], removed: list[Model]) -> None:
        mark = _interrupted(self.settings)
        with self._no_publishing():
            leftovers.demand_none_threw(self.ledger, error=DeploymentError)
            if self.hung_at is not None:
                leftovers.demand_none_mended(self.ledger, self.hung_at, error=DeploymentError)
            mark.touch()
            for model in changed:
                self._publish(model)
            for model in removed:
                name = f"{project.PRODUCTION}.{model.name}"
                self._command(self.ddl.drop_table(f"{name}_mv"))
                self._command(self.ddl.drop_table(name))
            self._remember()
            names = [model.name for model in [*changed, *removed]]
            leftovers.mended(self.ledger, self.client, self.base, names)
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
        standing.record(self.client, target)
        link = self.deployed.with_name("deployed.new")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(self.copy, link.parent))  # a home may move
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
        return relations(self.deployed / "target" / "manifest.json")[unique_id]

    def _engine(self, name: str) -> str:
        rows = self.client.query(
            "SELECT engine FROM system.tables WHERE database = {d:String} AND name = {n:String}",
            parameters={"d": project.PRODUCTION, "n": name},
        ).result_rows
        return rows[0][0] if rows else ""

    def _command(self, statement: str, settings: dict[str, str] | None = None) -> None:
        self.client.command(statement, settings=settings)


def _interrupted(settings: Settings) -> Path:
    return settings.home / "dbt" / "swap-under-way"
