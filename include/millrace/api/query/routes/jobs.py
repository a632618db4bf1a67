"""Jobs: what a person may start, started, watched, answered and cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.identity import Operator, while_known
from millrace.api.query.jobs import kinds, states
from millrace.api.query.jobs.kinds import KindDescription
from millrace.api.query.jobs.runs import Jobs, asks_nothing, demand_control
from millrace.api.query.jobs.states import Job, JobDetail
from millrace.api.query.problems import declared
from millrace.api.query.service import Connection, Service, ServiceOf
from millrace.stores import sql

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LOOK_SECONDS = 1.0
"""How often a job that is watched is looked at."""
SILENT_SECONDS = 15.0
"""How long a stream says nothing at most, so that proxies keep it open."""

JobId = Annotated[str, Path(max_length=250, description="As GET /v1/jobs has it.")]


class JobList(BaseModel):
    """What may be started, and what was."""

    kinds: list[KindDescription]
    jobs: list[Job]


class JobRequest(BaseModel):
    """A job to start."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(description="One of those that GET /v1/jobs lists.")
    parameters: dict[str, Any] = Field({}, description="As the kind's schema has them.")


class Answer(BaseModel):
    """What somebody decided."""

    model_config = ConfigDict(extra="forbid")

    option: str = Field(description="One of the question's options: Approve, Reject.")


@router.get("", responses=declared(401, 403, 404, 422, 502, 503))
async def list_jobs(
    service: ServiceOf,
    _whose: Operator,
    kind: Annotated[str | None, Query(description="Only this kind.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Runs to tell of.")] = 50,
) -> JobList:
    """List the kinds of jobs, with the JSON schema of what each takes, and the newest jobs.

    Jobs are runs of Airflow's DAGs, whoever or whatever started them.
    """
    names = [kind] if kind else list(kinds.KINDS)
    described, jobs = await asyncio.gather(
        service.jobs.describe(*names), service.jobs.recent(names, limit)
    )
    return JobList(kinds=described, jobs=jobs)


@router.post(
    "",
    status_code=202,
    responses={
        200: {"model": JobDetail, "description": "This Idempotency-Key started it before."},
        **declared(401, 403, 404, 422, 502, 503),
    },
)
async def start_job(
    request: JobRequest,
    service: ServiceOf,
    whose: Operator,
    response: Response,
    idempotency_key: Annotated[
        str, Header(max_length=200, description="Asking again with it finds the same job.")
    ] = "",
) -> JobDetail:
    """Start a job. Who did is in the audit log and in the run's note and configuration.

    With an `Idempotency-Key` a request that is repeated, after a lost answer for instance, starts
    nothing new; with other parameters it is refused (422).
    """
    kinds.demand_all(whose)
    (described,) = await service.jobs.describe(request.kind)
    kinds.check(described, request.parameters, whose)
    name = kinds.new_id(request.kind, whose, idempotency_key)
    if idempotency_key and await service.jobs.existing(name, request.parameters):
        response.status_code = 200
    else:
        await _record(service, name, "INSERT", request.model_dump(), whose)
    response.headers["location"] = f"/v1/jobs/{name}"
    return await service.jobs.start(name, request.parameters, whose)


@router.get("/{job}", responses=declared(401, 403, 404, 502, 503))
async def read_job(job: JobId, service: ServiceOf, _whose: Operator) -> JobDetail:
    """Tell how a job is: its state, how many of its tasks are done, and where its logs are."""
    return await service.jobs.find(job)


@router.delete("/{job}", responses=declared(401, 403, 404, 409, 502, 503))
async def cancel_job(job: JobId, service: ServiceOf, whose: Operator) -> JobDetail:
    """Cancel a job: its tasks end, and what they have not done is not done.

    Operators cancel what they started, admins everything.
    """
    kinds.demand_all(whose)
    demand_control(await service.jobs.find(job), whose)
    await _record(service, job, "DELETE", {"state": "cancelled"}, whose)
    return await service.jobs.cancel(job, whose)


@router.post("/{job}/answer", responses=declared(401, 403, 404, 409, 422, 502, 503))
async def answer_job(job: JobId, answer: Answer, service: ServiceOf, whose: Operator) -> JobDetail:
    """Answer what a job in the state `waiting` asks, such as whether to send a replay."""
    kinds.demand_all(whose)
    question = (await service.jobs.find(job)).question
    if question is None:
        raise asks_nothing()
    if answer.option not in question.options:
        options = ", ".join(question.options)
        raise ProblemError(422, "invalid_request", f"/body/option: it is none of {options}")
    await _record(service, job, "UPDATE", {"answer": answer.option}, whose)
    return await service.jobs.answer(job, answer.option)


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get(
    "/{job}/events",
    response_class=_EventStream,
    responses={
        200: {"description": "Events `job`, each a JobDetail as JSON; the last has ended."},
        **declared(401, 403, 404, 502, 503),
    },
)
async def watch_job(
    request: Request, job: JobId, service: ServiceOf, whose: Operator
) -> StreamingResponse:
    """Stream a job's progress as server-sent events: its state now, then each change, to its end.

    While Airflow is away the stream goes on silently. It ends when the watcher may not watch any
    longer.
    """
    first = await service.jobs.find(job)
    events = while_known(service, request, whose, _changes(service.jobs, first))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return _EventStream(events, headers=headers)


async def _changes(jobs: Jobs, found: JobDetail) -> AsyncGenerator[str]:
    said, said_at = "", time.monotonic()
    while True:
        text = found.model_dump_json()
        if text != said:
            said, said_at = text, time.monotonic()
            yield f"event: job\ndata: {text}\n\n"
        elif time.monotonic() - said_at > SILENT_SECONDS:
            said_at = time.monotonic()
            yield ": still the same\n\n"
        if found.state in states.ENDED:
            return
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = await jobs.find(found.id)
        except ProblemError as error:
            if error.status not in (502, 503):
                return  # Airflow has forgotten the run


async def _record(
    service: Service,
    job: str,
    action: Literal["INSERT", "UPDATE", "DELETE"],
    value: dict[str, Any],
    whose: Principal,
) -> None:
    """Put down who asks what of a job, before it happens."""
    row = {"job": job, "action": action, "value": Jsonb(value), "person": whose.name}

    def write(connection: Connection) -> None:
        connection.execute(sql.render("postgres/query/record_job.sql"), row)

    await service.with_postgres(write)
