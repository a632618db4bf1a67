"""Events by gRPC, with a generated client, against the server and a pretended intake."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion import grpc_server
from millrace.api.ingestion.batches import Batch, Outcome, Rejection
from millrace.api.ingestion.grpc_server import Server
from millrace.api.ingestion.keyring import KeyRing
from millrace.api.ingestion.v1.ingestion_pb2 import Event, SendRequest
from millrace.api.ingestion.v1.ingestion_pb2_grpc import IngestionStub
from millrace.lab.simulate import ways

ROOT = Path(__file__).parents[2]
SENDER = Key("id", "shop", "events", b"")
WATCHER = Key("id2", "watch", "events", b"", scopes=("read:live",))
BEARER = (("authorization", "Bearer good"),)


class Ring(KeyRing):
    """Two keys, that may be taken away."""

    def __init__(self) -> None:
        self.were_read = True
        self.keys = {"good": SENDER, "watch": WATCHER}

    @property
    def is_loaded(self) -> bool:
        """Whether the keys were ever read."""
        return self.were_read

    def find(self, text: str) -> Key | None:
        """Find a key by its text."""
        return self.keys.get(text)


class Intake:
    """Takes everything, but rejects events without an id and refuses when told to."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.problem: ProblemError | None = None
        self.fault: Exception | None = None
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def take(self, key: Key, batch: Batch) -> Outcome:
        """Take a batch."""
        assert key is SENDER
        if self.problem:
            raise self.problem
        if self.fault:
            raise self.fault
        if self.meanwhile:
            await self.meanwhile()
        self.batches.append(batch)
        rejections = [
            Rejection(index, "", "missing_field", "event_id", "none", "rule")
            for index, event in enumerate(batch.events)
            if "event_id" not in (msgspec.json.decode(event) if isinstance(event, bytes) else event)
        ]
        return Outcome(len(batch.events), rejections)


class World:
    """A running server, its keys, its intake, and a channel to it."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.intake = Intake()

    def run(self, work: Callable[[World], Awaitable[None]]) -> None:
        """Run ``work`` beside the server."""

        async def beside() -> None:
            self.server = Server(self.ring, self.intake.take, "127.0.0.1:0")  # type: ignore[arg-type]
            await self.server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}") as self.channel:
                self.stub = IngestionStub(self.channel)
                await work(self)
            await self.server.stop()

        asyncio.run(beside())

    async def refused(self, request: Any, metadata: Any = BEARER) -> grpc.aio.AioRpcError:
        """Send what must be refused; return how it was."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.stub.Send(request, metadata=metadata)
        return raised.value


def test_both_kinds_of_events_arrive_in_order_with_a_verdict_each() -> None:
    moment = Timestamp()
    moment.FromDatetime(datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC))
    full = Event(
        event_id="e2",
        event="purchase",
        timestamp=moment,
        user_id=2**64 - 1,
        page="/cart",
        device_info={"os": "linux"},
        properties={"price": "9.90", "user_id": "never"},
    )

    async def work(world: World) -> None:
        request = SendRequest(
            request_id="r1",
            json_events=[b'{"event_id":"e1","n":1.50}', b"{}"],
            events=[full, Event(page="/only")],
        )
        answer = await world.stub.Send(request, metadata=BEARER)
        assert (answer.request_id, answer.count, answer.accepted) == ("r1", 4, 2)
        assert [(one.index, one.reason, one.field) for one in answer.rejected] == [
            (1, "missing_field", "event_id"),
            (3, "missing_field", "event_id"),
        ]

    world = World()
    world.run(work)
    assert world.intake.batches[0].events == [
        b'{"event_id":"e1","n":1.50}',
        b"{}",
        {
            "event_id": "e2",
            "event": "purchase",
            "timestamp": "2026-03-01T12:30:15.250Z",
            "user_id": 2**64 - 1,
            "page": "/cart",
            "device_info": {"os": "linux"},
            "price": "9.90",
        },
        {"page": "/only"},
    ]


def test_a_time_that_the_calendar_lacks_is_left_to_the_gate() -> None:
    async def work(world: World) -> None:
        event = Event(event_id="e", timestamp=Timestamp(seconds=2**60, nanos=5))
        await world.stub.Send(SendRequest(events=[event]), metadata=BEARER)

    world = World()
    world.run(work)
    (taken,) = world.intake.batches[0].events
    assert taken["timestamp"] == f"{2**60}.000000005"  # type: ignore[index]


@pytest.mark.parametrize(
    ("problem", "status", "retry_after"),
    [
        (ProblemError(429, "rate_limited", "slower", retry_after=7), "RESOURCE_EXHAUSTED", "7"),
        (ProblemError(503, "unavailable", "later", retry_after=5), "UNAVAILABLE", "5"),
        (ProblemError(413, "event_too_large", "no"), "INVALID_ARGUMENT", None),
        (ProblemError(400, "no_batch", "no"), "INVALID_ARGUMENT", None),
    ],
)
def test_a_refusal_has_the_status_that_clients_know(
    problem: ProblemError, status: str, retry_after: str | None
) -> None:
    async def work(world: World) -> None:
        world.intake.problem = problem
        error = await world.refused(SendRequest(json_events=[b"{}"]))
        trailing = dict(error.trailing_metadata() or ())
        assert error.code().name == status
        assert error.details() == problem.detail
        assert trailing["code"] == problem.code
        assert trailing.get("retry-after") == retry_after

    World().run(work)


def test_only_a_key_that_may_send_is_let_in() -> None:
    async def work(world: World) -> None:
        one = SendRequest(json_events=[b"{}"])
        assert (await world.refused(one, ())).code().name == "UNAUTHENTICATED"
        for header in ("Bearer other", "Basic good", "good"):
            error = await world.refused(one, (("authorization", header),))
            assert error.code().name == "UNAUTHENTICATED"
        watcher = await world.refused(one, (("authorization", "Bearer watch"),))
        assert watcher.code().name == "PERMISSION_DENIED"
        long = SendRequest(json_events=[bytes(grpc_server.MOST_BYTES)])
        assert (await world.refused(long, ())).code().name == "UNAUTHENTICATED"  # unread
        call = world.stub.SendStream(metadata=(("authorization", "Bearer other"),))
        assert (await call.code()).name == "UNAUTHENTICATED"
        world.ring.were_read = False
        assert (await world.refused(one)).code().name == "UNAVAILABLE"
        assert not world.intake.batches

    World().run(work)


def test_too_many_events_or_bytes_are_refused() -> None:
    async def work(world: World) -> None:
        error = await world.refused(SendRequest(json_events=[b"{}"] * 2_001))
        assert error.code().name == "INVALID_ARGUMENT"
        large = SendRequest(json_events=[b"x" * grpc_server.MOST_BYTES])
        assert (await world.refused(large)).code().name == "RESOURCE_EXHAUSTED"
        bomb = SendRequest(json_events=[bytes(grpc_server.MOST_BYTES)])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await world.stub.Send(bomb, metadata=BEARER, compression=grpc.Compression.Gzip)
        assert raised.value.code().name == "RESOURCE_EXHAUSTED"
        assert not world.intake.batches
        packed = SendRequest(json_events=[b"{}"])
        answer = await world.stub.Send(
            packed, metadata=BEARER, compression=grpc.Compression.Deflate
        )
        assert answer.count == 1

    World().run(work)


def test_a_stream_is_acknowledged_in_order_and_outlives_a_refusal() -> None:
    async def work(world: World) -> None:
        call = world.stub.SendStream(metadata=BEARER)

        async def sent(name: str) -> Any:
            await call.write(SendRequest(request_id=name, json_events=[b'{"event_id":"%d"}' % 1]))
            return await call.read()

        assert (await sent("a")).accepted == 1
        world.intake.problem = ProblemError(429, "rate_limited", "slower", retry_after=3)
        refused = await sent("b")
        assert (refused.request_id, refused.count) == ("b", 0)
        assert (refused.problem.code, refused.problem.retry_after_seconds) == ("rate_limited", 3)
        world.intake.problem = None
        for name in ("c", "d", "e"):
            await call.write(SendRequest(request_id=name, json_events=[b"{}"]))
        assert [(await call.read()).request_id for _ in range(3)] == ["c", "d", "e"]
        world.ring.keys.clear()  # revoked while the stream is open
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await sent("f")
        assert raised.value.code().name == "UNAUTHENTICATED"

    world = World()
    world.run(work)
    assert len(world.intake.batches) == 4


def test_a_fault_of_the_api_tells_nobody_what_it_was_and_ends_no_stream() -> None:
    async def work(world: World) -> None:
        one = SendRequest(request_id="a", json_events=[b"{}"])
        world.intake.fault = ValueError("the password is SECRET")
        error = await world.refused(one)
        assert (error.code().name, "SECRET" in str(error)) == ("INTERNAL", False)
        assert dict(error.trailing_metadata() or ())["code"] == "internal_error"
        call = world.stub.SendStream(metadata=BEARER)
        await call.write(one)
        answer = await call.read()
        assert (answer.request_id, answer.problem.code) == ("a", "internal_error")
        assert answer.problem.retry_after_seconds > 0
        world.intake.fault = None
        await call.write(one)
        assert (await call.read()).count == 1
        await call.done_writing()

    World().run(work)


def test_a_call_that_nobody_waits_for_any_more_is_let_go() -> None:
    async def work(world: World) -> None:
        began, gone = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                gone.set()

        world.intake.meanwhile = wait
        one = SendRequest(json_events=[b"{}"])
        for seconds, expected in ((1, "DEADLINE_EXCEEDED"), (None, "CANCELLED")):
            began.clear()
            gone.clear()
            call = world.stub.Send(one, metadata=BEARER, timeout=seconds)
            waiting = asyncio.ensure_future(began.wait())
            await asyncio.wait_for(waiting, 30)
            if seconds is None:
                call.cancel()
            await asyncio.wait_for(gone.wait(), 30)
            assert (await call.code()).name == expected

    World().run(work)


def test_health_and_reflection_are_served() -> None:
    async def work(world: World) -> None:
        health = health_pb2_grpc.HealthStub(world.channel)
        asked = health_pb2.HealthCheckRequest(service="millrace.ingestion.v1.Ingestion")
        assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
        await world.server.set_ready(is_ready=False)
        assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(world.channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        found = {one.name for one in (await call.read()).list_services_response.service}
        assert {"millrace.ingestion.v1.Ingestion", "grpc.health.v1.Health"} <= found
        await call.done_writing()

    World().run(work)


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("proto_generate", ROOT / "proto" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_modules_are_what_the_proto_generates() -> None:
    generator = _generator()
    for name, text in generator.contents().items():
        kept = (generator.TARGET / name).read_text()
        assert kept == text, "run .venv/bin/python proto/generate.py"


def test_a_simulation_sends_again_what_may_be_taken_later_alone() -> None:
    problems = {
        "later": ProblemError(503, "unavailable", "later", retry_after=5),
        "slower": ProblemError(429, "rate_limited", "slower", retry_after=7),
        "never": ProblemError(413, "event_too_large", "no"),
    }
    long = b'{"a":"%s"}' % (b"x" * 70_000)

    async def work(world: World) -> None:
        address = f"127.0.0.1:{world.server.port}"
        way, stranger = ways.Grpc(address, "good"), ways.Grpc(address, "bad")
        assert await asyncio.to_thread(way.send, [b"{}", long])
        for name in ("later", "slower"):
            world.intake.problem = problems[name]
            assert not await asyncio.to_thread(way.send, [b"{}"])
        world.intake.problem = problems["never"]
        with pytest.raises(ways.RefusedError, match="INVALID_ARGUMENT: no"):
            await asyncio.to_thread(way.send, [b"{}"])
        with pytest.raises(ways.RefusedError, match="UNAUTHENTICATED"):
            await asyncio.to_thread(stranger.send, [b"{}"])
        way.close()
        stranger.close()

    world = World()
    world.run(work)
    assert [list(batch.events) for batch in world.intake.batches] == [[b"{}", long]]
