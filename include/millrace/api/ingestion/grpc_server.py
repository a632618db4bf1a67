"""Events by gRPC: the same keys, limits, verdicts and durability as by HTTP, on a port of its own.

Each worker process serves it from its own event loop; the kernel shares the connections out among
them (SO_REUSEPORT).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion import moments
from millrace.api.ingestion.batches import MOST_BYTES, Batch, Outcome, check_count
from millrace.api.ingestion.keyring import KeyRing
from millrace.api.ingestion.v1 import ingestion_pb2, ingestion_pb2_grpc

log = logging.getLogger(__name__)

Take = Callable[[Key, Batch], Awaitable[Outcome]]
"""Makes a batch durable and says what becomes of it. Raises ``ProblemError``."""

GRACE_SECONDS = 5.0
"""How long calls may go on when the server stops."""

SERVICE = ingestion_pb2.DESCRIPTOR.services_by_name["Ingestion"].full_name

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    413: grpc.StatusCode.INVALID_ARGUMENT,  # RESOURCE_EXHAUSTED would be sent again as it is
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Server:
    """Serves gRPC at ``address``; ``port`` is the one that it got, where it asked for any."""

    def __init__(self, ring: KeyRing, take: Take, address: str) -> None:
        self._service = _Ingestion(ring, take)
        self._door = _Door(ring)
        self._address = address
        self.port = 0

    async def start(self) -> None:
        """Begin to serve. Raises ``RuntimeError`` when the address can't be had."""
        self._server = grpc.aio.server(
            interceptors=[self._door],
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", MOST_BYTES),
                ("grpc.max_metadata_size", 16 << 10),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        add: Any = ingestion_pb2_grpc.add_IngestionServicer_to_server  # generated, without types
        add(self._service, self._server)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        self.port = self._server.add_insecure_port(self._address)
        await self._server.start()
        await self.set_ready(is_ready=True)

    async def set_ready(self, *, is_ready: bool) -> None:
        """Say by the health service whether events are taken."""
        state = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, state.SERVING if is_ready else state.NOT_SERVING)

    async def stop(self) -> None:
        """Take no new calls, and end when those that run have been answered."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(GRACE_SECONDS)


class _Door(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Sends strangers away before their message is read: it may be long, and they may be many."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Let a call in, or have it refused."""
        if details.method.startswith(f"/{SERVICE}/"):
            try:
                await _key(self._ring, details.invocation_metadata)
            except ProblemError as problem:
                return _refusing(problem)
        return await continuation(details)


def _refusing(problem: ProblemError) -> Any:
    """Return what handles a call by ending it, unread."""

    async def refuse(_requests: AsyncIterator[Any], context: Any) -> Any:
        await _abort(context, problem)

    return grpc.stream_unary_rpc_method_handler(refuse)


async def _key(ring: KeyRing, metadata: Any) -> Key:
    """Return the key that a call shows. Raises ``ProblemError``."""
    given = ""
    for name, value in metadata:
        if name == "authorization":
            scheme, _, text = value.partition(" ")
            given = text.strip() if scheme.lower() == "bearer" else ""
    return await ring.sender(
        given, "Send the metadata authorization: Bearer KEY; ./millrace keys add makes a key."
    )


class _Ingestion(ingestion_pb2_grpc.IngestionServicer):
    """The service of ``ingestion.proto``."""

    def __init__(self, ring: KeyRing, take: Take) -> None:
        self._ring = ring
        self._take = take

    async def Send(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take one batch."""
        try:
            return await self._taken(await self._key(context), request)
        except ProblemError as problem:
            await _abort(context, problem)

    async def SendStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Take batch after batch: the next one when the one before is durable, so in order.

        The key is looked up for each, since it may be revoked meanwhile.
        """
        async for request in requests:
            try:
                key = await self._key(context)
            except ProblemError as problem:
                await _abort(context, problem)
            try:
                yield await self._taken(key, request)
            except ProblemError as problem:
                yield ingestion_pb2.SendResponse(
                    request_id=request.request_id,
                    problem=ingestion_pb2.Problem(
                        code=problem.code,
                        detail=problem.detail,
                        retry_after_seconds=problem.retry_after or 0,
                    ),
                )

    async def _key(self, context: Any) -> Key:
        return await _key(self._ring, context.invocation_metadata())

    async def _taken(self, key: Key, request: Any) -> Any:
        count = len(request.json_events) + len(request.events)
        check_count(count)
        events: list[Any] = list(request.json_events)
        if request.events:
            events += map(_event, request.events)
        try:
            outcome = await self._take(key, Batch(events)) if events else Outcome(0)
        except ProblemError:
            raise
        except Exception:
            log.exception("a call failed")
            raise ProblemError(
                500, "internal_error", "The API failed; its log says more.", retry_after=5
            ) from None
        answer = ingestion_pb2.SendResponse(
            request_id=request.request_id, count=outcome.count, accepted=outcome.accepted
        )
        for one in outcome.rejections:
            answer.rejected.add(**one.as_json())
        return answer


async def _abort(context: Any, problem: ProblemError) -> None:
    """End a call with the status that a problem has here."""
    trailing = [("code", problem.code)]
    if problem.retry_after is not None:
        trailing.append(("retry-after", str(problem.retry_after)))
    await context.abort(
        _CODES.get(problem.status, grpc.StatusCode.INTERNAL), problem.detail, tuple(trailing)
    )


def _event(message: Any) -> dict[str, Any]:
    """Return an event as the contract's object; a property never replaces a field."""
    event: dict[str, Any] = dict(message.properties)
    for name in ("event_id", "event", "page", "country", "device", "user_id"):
        if value := getattr(message, name):
            event[name] = value
    if message.HasField("timestamp"):
        event["timestamp"] = _time(message.timestamp)
    for name in ("device_info", "geo_location"):
        if value := getattr(message, name):
            event[name] = dict(value)
    return event


def _time(timestamp: Any) -> str:
    """Return a moment in ISO 8601; one that the calendar lacks as it is, for the gate to reject."""
    moment = timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
    if not moments.is_writable(moment):
        return f"{timestamp.seconds}.{timestamp.nanos:09}"
    return moments.iso(moment)
