"""What must hold after any sequence of operations, each looked at in the stores themselves."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.lab.operations.model import Verdict
from millrace.lab.operations.world import World
from millrace.lab.verify import conservation
from millrace.stores import clickhouse, objects, postgres, quoting, sql

SHOWN = 5
EXPORTS = "events"


def broken(world: World) -> list[str]:
    """Return each promise that does not hold, in a sentence; load, build, judge, export before."""
    return [
        said
        for check in (
            _conserved,
            _verdicts,
            _erased,
            _published,
            _exported,
            _ends_told,
            _left_behind,
        )
        for said in check(world)
    ]


def _rows(world: World, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with clickhouse.connect(world.settings) as client:
        return [tuple(row) for row in client.query(statement, parameters=values).result_rows]


def _conserved(world: World) -> Iterator[str]:
    """Nothing is lost, repeated or unexplained, and rollups are what events say."""
    report = conservation.verify(world.settings, wait_seconds=60)
    for check in report.checks:
        for one in check.differences[:SHOWN]:
            yield f"{check.name}: {one.what}: {one.found} where {one.expected} should be"


def _verdicts(world: World) -> Iterator[str]:
    """Each message has the verdict that the model knows, once."""
    model = world.model
    found = Counter(id_ for (id_,) in _rows(world, "SELECT event_id FROM events"))
    if twice := [id_ for id_, times in found.items() if times > 1]:
        yield f"{len(twice)} events are there twice, as {twice[0]}"
    if missing := model.certain(Verdict.EVENT) - found.keys():
        yield f"{len(missing)} events are missing, as {min(missing)}"
    if strange := found.keys() - model.possible():
        yield f"{len(strange)} events should not be there, as {min(strange)}"


def _erased(world: World) -> Iterator[str]:
    """Nothing of what erasures reached is in any table or exported file.

    Of who sent nothing since, not even the number is there.
    """
    tables = _rows(world, sql.render("clickhouse/verify/tables_of_users.sql"))
    present = set(world.model.users)
    for user_id, erasure in world.model.erasures.items():
        ids = [str(id_) for id_ in sorted(erasure.event_ids)]
        names = ids if user_id in present else [*ids, str(user_id)]
        for database, table, columns in tables:
            texts = ", ".join(
                f"ifNull(toString({quoting.identifier(column)}), '')" for column in columns
            )
            found = f"arrayExists(text -> multiSearchAny(text, {{names:Array(String)}}), [{texts}])"
            place = quoting.identifier(database, table)
            statement = f"SELECT count() FROM {place} WHERE {found}"  # noqa: S608  quoted names
            ((left,),) = _rows(world, statement, names=names)
            if left:
                yield f"{database}.{table} has {left} rows of user {user_id}, who was erased"
        for path, content in _files(world):
            text = content.to_pandas().to_csv()
            if any(name in text for name in names):
                yield f"{path} holds what user {user_id}, who was erased, had sent"


def _files(world: World) -> Iterator[tuple[str, pa.Table]]:
    """Yield every exported file and archive."""
    for name in _names(world, ""):
        if name.endswith(".parquet"):
            yield name, _read(world, name)


def _names(world: World, prefix: str) -> list[str]:
    client = objects.connect(world.settings)
    found = client.list_objects(world.settings.s3_bucket, prefix, recursive=True)
    return [str(one.object_name) for one in found]


def _read(world: World, name: str) -> pa.Table:
    return pq.read_table(io.BytesIO(_content(world, name)))


def _content(world: World, name: str) -> bytes:
    client = objects.connect(world.settings)
    answer = client.get_object(world.settings.s3_bucket, name)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


def _windows(world: World, statement: str) -> list[dict[str, Any]]:
    with postgres.connect(world.settings) as connection:
        return connection.execute(statement, {"dataset": EXPORTS}).fetchall()


def _between(world: World, spans: list[tuple[datetime, datetime]], ids: set[UUID]) -> set[UUID]:
    """Return those of ``ids`` whose time lies in one of the spans."""
    return {
        m.event_id
        for m in world.model.messages
        if m.event_id in ids and any(start <= m.time < end for start, end in spans)
    }


def _published(world: World) -> Iterator[str]:
    """What is published is what was judged, and nothing else."""
    rows = _windows(world, sql.render("postgres/verify/published_spans.sql"))
    spans = [(row["span_start"], row["span_end"]) for row in rows]
    found = {id_ for (id_,) in _rows(world, "SELECT event_id FROM published.events")}
    if missing := _between(world, spans, world.model.certain(Verdict.EVENT)) - found:
        yield f"{len(missing)} events of published windows are not published, as {min(missing)}"
    if strange := found - _between(world, spans, world.model.possible()):
        yield f"{len(strange)} published events are of no published window, as {min(strange)}"


def _exported(world: World) -> Iterator[str]:
    """Catalogue and manifests name the same windows, and their files hold the windows' events."""
    manifests = _manifests(world)
    rows = _windows(world, sql.render("postgres/verify/exported_windows.sql"))
    for start in manifests.keys() - {row["window_start"] for row in rows}:
        yield f"export of {start:%Y-%m-%d %H:%M} has a manifest, and the catalogue lacks it"
    for row in rows:
        label = f"export of {row['window_start']:%Y-%m-%d %H:%M}"
        manifest = manifests.get(row["window_start"])
        if manifest is None or manifest["run_id"] != row["run_id"]:
            yield f"{label}: the catalogue has run {row['run_id']}, the manifest {manifest}"
            continue
        tables = [_read(world, file["key"]) for file in manifest["files"]]
        found = Counter(UUID(value) for table in tables for value in table["event_id"].to_pylist())
        span = [(row["window_start"], row["window_end"])]
        if found.total() != row["row_count"]:
            yield f"{label}: {found.total()} rows in files, {row['row_count']} in the catalogue"
        if missing := _between(world, span, world.model.certain(Verdict.EVENT)) - found.keys():
            yield f"{label}: lacks {len(missing)} events, as {min(missing)}"
        if strange := found.keys() - _between(world, span, world.model.possible()):
            yield f"{label}: {len(strange)} events should not be there, as {min(strange)}"


def _manifests(world: World) -> dict[datetime, dict[str, Any]]:
    found = [
        json.loads(_content(world, name))
        for name in _names(world, f"exports/{EXPORTS}/")
        if name.endswith("/manifest.json")
    ]
    return {datetime.fromisoformat(one["window_start"]): one for one in found}


def _ends_told(world: World) -> Iterator[str]:
    """No incident is open where it was told of, since none goes on."""
    for key in sorted(world.incidents.open()):
        yield f"the end of incident {key} was not told"


def _left_behind(world: World) -> Iterator[str]:
    """No step of an operation left a table, an open micro-batch or an open run."""
    for database, table in _rows(world, sql.render("clickhouse/verify/left_behind.sql")):
        yield f"{database}.{table} was left behind"
    for row in _windows(world, sql.render("postgres/verify/left_open.sql")):
        yield f"{row['number']} {row['what']} are open"
