"""What there is, and how it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.alerts import overview
from millrace.api.query.identity import Viewer
from millrace.api.query.problems import declared
from millrace.api.query.service import Connection, Service, ServiceOf
from millrace.api.query.warehouse import WarehouseAwayError
from millrace.ingest import status
from millrace.rules import event_types
from millrace.stores import clickhouse, sql
from millrace.transform import manifest, project
from millrace.usecases import sources

router = APIRouter(prefix="/v1", tags=["items"])


class EventType(BaseModel):
    """What events may be called."""

    name: str
    description: str
    owner: str
    is_active: bool = Field(description="Events of a retired type are rejected.")


class SourceItem(BaseModel):
    """Where events come from."""

    name: str
    topic: str
    description: str
    owner: str
    is_active: bool
    fresh_until: datetime | None = Field(
        description="Everything that Kafka received before it is loaded; null: not known."
    )


class MetricItem(BaseModel):
    """What may be asked of /v1/metrics."""

    name: str
    description: str
    unit: str
    kind: str = Field(description="sum: windows and dimensions add up; gauge: they do not.")
    dimensions: list[str]
    datasets: list[str] = Field(description="Whose audits speak of it.")
    fresh_until: datetime | None = Field(
        description="Everything that Kafka received before it is in the numbers."
    )


class Withheld(BaseModel):
    """A stretch of time that failed its audit."""

    start: datetime
    end: datetime
    reason: str


class Dataset(BaseModel):
    """A table or view that is audited."""

    name: str
    relation: str
    description: str
    made_from: list[str] = Field(description="Models and tables that dbt makes it from.")
    windows: list[str] = Field(description="Kinds of windows that are audited: 5m, 1h, 1d.")
    is_published: bool = Field(description="Whether it is to be read in the database published.")
    passed_until: datetime | None = Field(description="The end of the last window that passed.")
    withheld: list[Withheld] = Field(description="The newest stretches that failed, 20 at most.")
    fresh_until: datetime | None


class Items(BaseModel):
    """What there is, as far as the asker may see it."""

    event_types: list[EventType]
    sources: list[SourceItem]
    metrics: list[MetricItem]
    datasets: list[Dataset]


@router.get("/items", responses=declared(401, 403, 503))
async def items(principal: Viewer, service: ServiceOf) -> Items:
    """List event types, sources, metrics and datasets: what they are, how fresh and how good."""

    def read(connection: Connection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return event_types.every(connection), sources.every(connection)

    types, found = await service.with_postgres(read)
    worth = service.worth
    return Items(
        event_types=[
            EventType(
                name=row["event_type"],
                description=row["description"],
                owner=row["owner"],
                is_active=row["is_active"],
            )
            for row in types
        ],
        sources=[
            SourceItem(
                name=row["source_id"],
                topic=row["topic"],
                description=row["description"],
                owner=row["owner"],
                is_active=row["is_active"],
                fresh_until=worth.received_until(row["topic"]),
            )
            for row in found
            if principal.sources is None or row["source_id"] in principal.sources
        ],
        metrics=await _metrics(service, principal),
        datasets=await asyncio.to_thread(_datasets, service, principal),
    )


async def _metrics(service: Service, principal: Principal) -> list[MetricItem]:
    worth = service.worth
    if not worth.lineage.models:  # dbt has not run yet
        return []
    try:
        rows = (await service.warehouse.ask(_statement(service, "definitions"))).rows
    except WarehouseAwayError:
        return []
    return [
        MetricItem(
            name=name,
            description=meaning,
            unit=unit,
            kind=kind,
            dimensions=dimensions,
            datasets=list(worth.datasets_of(name)),
            fresh_until=worth.fresh_until(worth.lineage.relation(name)),
        )
        for name, meaning, unit, kind, dimensions in rows
        if principal.may_see(worth.datasets_of(name))
    ]


def _datasets(service: Service, principal: Principal) -> list[Dataset]:
    worth = service.worth
    path = project.deployed(service.settings) / "target" / "manifest.json"
    models = {one.name: one for one in manifest.models(path)} if path.exists() else {}
    found = []
    for suite in worth.verdicts.suites:
        if not principal.may_see([suite.dataset]):
            continue
        model = models.get(suite.table.rpartition(".")[2])
        passed_until, withheld = worth.verdicts.newest(suite.dataset, 20)
        relation = suite.table if "." in suite.table else f"{worth.lineage.base}.{suite.table}"
        found.append(
            Dataset(
                name=suite.dataset,
                relation=relation,
                description=model.description
                if model
                else worth.lineage.comments.get(relation, ""),
                made_from=sorted(one.rpartition(".")[2] for one in model.parents) if model else [],
                windows=list(suite.windows),
                is_published=suite.publishes,
                passed_until=passed_until,
                withheld=[
                    Withheld(
                        start=datetime.fromtimestamp(one.start, UTC),
                        end=datetime.fromtimestamp(one.end, UTC),
                        reason=one.reason,
                    )
                    for one in withheld
                ],
                fresh_until=worth.fresh_until(relation),
            )
        )
    return found


class SourceStats(BaseModel):
    """How a source is loaded, over the last five minutes."""

    source: str
    messages_per_second: float
    events_per_second: float
    rejected_share: float | None = Field(description="Of the messages; null where none came.")
    open_batches: int
    lag_messages: int | None = Field(
        description="Messages in Kafka that no micro-batch has claimed; null: Kafka is away."
    )


class Alert(BaseModel):
    """A rule that fires."""

    rule: str
    severity: str
    owner: str
    alerts: int
    held_back: str = Field(description="Why nobody is told, where that is so.")


class Drill(BaseModel):
    """The last restore that was tried out."""

    state: str
    ended_at: datetime
    rto_seconds: float | None
    metadata_rpo_seconds: float | None


class Stats(BaseModel):
    """How the pipeline is."""

    at: datetime
    complete_until: datetime | None = Field(
        description="Everything that Kafka received before it is in the numbers."
    )
    freshness_seconds: float | None
    events_today: int | None = Field(
        description="By UTC; null while ClickHouse is away, and to who may see a part only."
    )
    rejected_today: int | None
    sources: list[SourceStats]
    firing: list[Alert] = Field(description="None are shown to who may see a part only.")
    backup_age_seconds: dict[str, float] = Field(
        description="Since the last good backup, by kind: warehouse, metadata, wal."
    )
    last_drill: Drill | None


@router.get("/stats", responses=declared(401, 403, 503))
async def stats(principal: Viewer, service: ServiceOf) -> Stats:
    """Tell how the pipeline is: rates, lag, freshness, alerts, backups and drills."""

    def read(connection: Connection) -> tuple[list[overview.Standing], list[dict[str, Any]]]:
        drills = connection.execute(sql.render("postgres/query/last_drill.sql")).fetchall()
        return overview.standings(connection), drills

    (standings, drills), ingest, warehouse = await asyncio.gather(
        service.with_postgres(read),
        service.ingest_status(),
        _warehouse(service),
    )
    now = datetime.now(UTC)
    until = service.worth.received_until()
    sees_all = principal.sources is None and principal.datasets is None
    if not sees_all:  # totals and alerts are of everybody's
        warehouse |= {"events_today": None, "rejected_today": None}
        standings = []
    return Stats(
        at=now,
        complete_until=until,
        freshness_seconds=max(0.0, (now - until).total_seconds()) if until else None,
        **warehouse,
        sources=[
            _source(row, ingest.partitions)
            for row in ingest.recent
            if principal.sources is None or row["source_id"] in principal.sources
        ],
        firing=[
            Alert(
                rule=one.rule,
                severity=one.severity,
                owner=one.owner,
                alerts=sum(alert["state"] == "firing" for alert in one.alerts),
                held_back=one.held_back,
            )
            for one in standings
            if one.state.startswith("firing")
        ],
        last_drill=Drill(**drills[0]) if drills else None,
    )


def _source(row: dict[str, Any], partitions: list[status.PartitionStatus]) -> SourceStats:
    lags = [one.lag for one in partitions if one.source_id == row["source_id"]]
    return SourceStats(
        source=row["source_id"],
        messages_per_second=row["messages"] / status.RECENT_SECONDS,
        events_per_second=row["events"] / status.RECENT_SECONDS,
        rejected_share=row["rejected"] / row["messages"] if row["messages"] else None,
        open_batches=row["open_batches"],
        lag_messages=None if None in lags else sum(lag or 0 for lag in lags),
    )


async def _warehouse(service: Service) -> dict[str, Any]:
    try:
        ((events, rejected),) = (await service.warehouse.ask(_statement(service, "today"))).rows
        ages = await service.warehouse.ask(sql.render("clickhouse/backups/last_success.sql"))
    except WarehouseAwayError:
        return {"events_today": None, "rejected_today": None, "backup_age_seconds": {}}
    return {
        "events_today": events,
        "rejected_today": rejected,
        # ClickHouse counts whole seconds: one that just ended would be from the future.
        "backup_age_seconds": {kind: max(0.0, age) for kind, age in ages.rows},
    }


def _statement(service: Service, name: str) -> str:
    base = clickhouse.database(service.settings)
    return sql.render(f"clickhouse/query/{name}.sql", base=base)
