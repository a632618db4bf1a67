"""What routes share: connections, caches and what is known, for as long as a process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

import psycopg
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from millrace.access.oidc import Provider
from millrace.access.roles import Principal
from millrace.api.query.airflow import Airflow
from millrace.api.query.answering import Answering
from millrace.api.query.asked import Asked
from millrace.api.query.cache.answers import Answers
from millrace.api.query.cache.flights import Flights
from millrace.api.query.cache.generations import Generations
from millrace.api.query.evaluations import Evaluations
from millrace.api.query.hot.entities import Entities
from millrace.api.query.jobs.runs import Jobs
from millrace.api.query.live import Live
from millrace.api.query.places import Places
from millrace.api.query.recognition import Recognition
from millrace.api.query.registry import Registries
from millrace.api.query.throttle import LoginThrottle, RequestThrottle
from millrace.api.query.warehouse import Warehouse
from millrace.api.query.worth import Worth
from millrace.ingest import status
from millrace.ingest.status import IngestStatus
from millrace.settings import Settings
from millrace.stores import postgres

Connection = psycopg.Connection[psycopg.rows.DictRow]
T = TypeVar("T")


MOST_PASSWORDS = 16
"""Who sign in with a password at once: each takes a thread, of 40, and waits there for its turn."""
MOST_ARRIVALS = 12
"""Who come from elsewhere, go on or sign out at once, and are told by a server who they are."""


class Service:
    """One process's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.warehouse = Warehouse(settings)
        self.worth = Worth(settings)
        self.recognition = Recognition(settings, self.with_postgres)
        self.logins = LoginThrottle(settings)
        self.passwords = Places(MOST_PASSWORDS, "Too many sign in at once.")
        self.arrivals = Places(MOST_ARRIVALS, "Too many come in at once.")
        self.requests = RequestThrottle(settings)
        self.provider = Provider(settings) if settings.oidc_issuer else None
        self.generations = Generations(settings)
        self.airflow = Airflow(settings)
        self.jobs = Jobs(self.airflow, settings)
        self.answers = Answers(settings, self.generations)
        self.registries = Registries()
        self.answering = Answering(
            self.warehouse, self.registries, self.generations, self.answers, self.worth
        )
        self.asked = Asked(self.answering)
        self.evaluations = Evaluations(settings, self.generations, self.answers, self.warehouse)
        self.entities = Entities(settings, self.generations, self.answers, self.warehouse)
        self._standing: Flights[IngestStatus] = Flights()
        self.live = Live(self.asked, self.answering.registry_of)
        self._pool: ConnectionPool[Connection]

    async def start(self) -> None:
        """Begin; no server need answer yet."""
        self._pool = postgres.pool(self.settings, most=8)
        await self.warehouse.start()
        await self.worth.start(self.with_postgres, self.warehouse)
        await self.recognition.start()
        await self.generations.start(self.warehouse)
        await self.airflow.start()
        await self.answers.start()
        await self.registries.start(self.warehouse)

    async def stop(self) -> None:
        """End in good order."""
        await self.registries.stop()
        await self.answers.stop()
        await self.airflow.stop()
        await self.generations.stop()
        await self.recognition.stop()
        await self.worth.stop()
        await self.warehouse.stop()
        await asyncio.to_thread(self._pool.close)

    async def with_postgres(self, work: Callable[[Connection], T]) -> T:
        """Return what ``work`` does with a connection to PostgreSQL, in a thread."""
        return await asyncio.to_thread(partial(self._work, work))

    async def ingest_status(self) -> IngestStatus:
        """Return where ingest stands: asked for once for all who ask meanwhile.

        Kafka takes its time where it is away, and threads are few.
        """
        read = partial(status.read, self.settings, incident_limit=1)
        return await self._standing.join("ingest", partial(asyncio.to_thread, read))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection to PostgreSQL to a route that has a thread of its own."""
        with self._pool.connection() as connection:
            yield connection

    @contextmanager
    def change(self, who: Principal) -> Iterator[Connection]:
        """Open a transaction whose changes ``audit_logs`` puts down to somebody."""
        with self.connection() as connection, postgres.change(connection, who.name):
            yield connection

    def _work(self, work: Callable[[Connection], Any]) -> Any:
        with self._pool.connection() as connection:
            return work(connection)

    async def problems(self) -> list[str]:
        """Say, a sentence each, what keeps it from answering."""
        found = []
        try:
            await self.with_postgres(lambda connection: connection.execute("SELECT 1"))
        except psycopg.Error as error:
            found.append(f"PostgreSQL does not answer: {str(error).splitlines()[0]}")
        found += await self.warehouse.problems()
        return found


async def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


ServiceOf = Annotated[Service, Depends(_service)]
"""The service, as an argument of a route."""
