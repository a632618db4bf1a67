"""A campaign against the ingestion API: what it has acknowledged must be there, once, in order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import httpx
import psutil

from millrace import waiting
from millrace.access import keys
from millrace.lab.chaos.campaign import (
    CATCH_UP_SECONDS,
    ENVIRONMENT,
    RUN_SECONDS,
    Injection,
    Outcome,
    UnknownFaultError,
    order,
)
from millrace.lab.chaos.faults import Action, ServerInjector
from millrace.lab.chaos.ingest_scheduler import IngestScheduler
from millrace.lab.chaos.proxy import Proxy
from millrace.lab.simulate import api, faults, send, ways
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.verify import acknowledged, conservation
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import dictionaries, postgres

SERVER, PORT = "ingestion-api", "ingestion_api"
SPOOL_BYTES = 4 << 20
API_ENVIRONMENT = ENVIRONMENT | {"MILLRACE_INGESTION_SPOOL_BYTES": str(SPOOL_BYTES)}
"""What the stack must be started with, so that its spool can be filled."""
DRAIN_SECONDS = 120.0


class Load(threading.Thread):
    """Traffic to the API until told to stop."""

    def __init__(self, settings: Settings, url: str, key: str, plan: send.Plan) -> None:
        super().__init__(name="load of the ingestion API", daemon=True)
        self.stopping = threading.Event()
        self._manifest: Acknowledged | None = None
        self._settings, self._url, self._key, self._plan = settings, url, key, plan

    def run(self) -> None:
        """Send."""
        self._manifest = api.run(
            self._plan, self._settings, url=self._url, key=self._key, stop=self.stopping
        )

    def finish(self) -> Acknowledged:
        """Stop, wait for every acknowledgement and return what was acknowledged."""
        self.stopping.set()
        self.join()
        if self._manifest is None:
            raise RuntimeError(f"the {self.name} died; see the traceback above")
        return self._manifest


class ApiInjector(ServerInjector):
    """What can happen to the API, and to what it depends on."""

    def __init__(self, stack: Stack, rng: random.Random, proxy: Proxy) -> None:
        super().__init__(stack, rng)
        self.proxy = proxy

    def is_ready(self) -> bool:
        """Tell whether the API takes events."""
        port = self.stack.settings.port(PORT)
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).is_success
        except httpx.HTTPError:
            return False

    def lets_in(self, key: str) -> bool:
        """Tell whether the API knows a key."""
        url = f"http://127.0.0.1:{self.stack.settings.port(PORT)}{ways.PATH}"
        try:
            answer = httpx.post(url, json=[], headers={"Authorization": f"Bearer {key}"})
        except httpx.HTTPError:
            return False
        return answer.status_code != httpx.codes.UNAUTHORIZED

    def kill_worker(self) -> str:
        """Kill -9 one of the API's processes at random, were it the one that drains."""
        main = psutil.Process(self.stack.pid(SERVER))
        workers = main.children(recursive=True) or [main]
        self.rng.choice(workers).kill()
        self.stack.wait_healthy(SERVER)
        return f"killed one of {len(workers)}"

    def without(self, *names: str, seconds: float) -> str:
        """Have servers stopped for a while."""
        for name in names:
            self.stack.stop(name)
        time.sleep(seconds)
        for name in names:
            self.stack.start(name)
            self.stack.wait_healthy(name)
        return f"gone for {seconds:.0f} s"

    def kill_amid_outage(self) -> str:
        """Stop Kafka, kill every process of the API while it spools, and have both back."""
        self.stack.stop("kafka")
        time.sleep(self.rng.uniform(3, 6))
        main = psutil.Process(self.stack.pid(SERVER))
        for process in [*main.children(recursive=True), main]:
            process.kill()
        time.sleep(self.rng.uniform(1, 3))
        self.stack.start("kafka")
        for name in ("kafka", SERVER):
            self.stack.wait_healthy(name)
        return "killed with events in the spool"

    def fill_spool(self) -> str:
        """Stop Kafka until the API says that it can take nothing more."""
        self.stack.stop("kafka")
        is_full = waiting.poll(lambda: not self.is_ready(), seconds=60, every=0.5)
        time.sleep(2)
        self.stack.start("kafka")
        self.stack.wait_healthy("kafka")
        is_drained = waiting.poll(self.is_ready, seconds=DRAIN_SECONDS, every=0.5)
        return f"{'filled' if is_full else 'not filled'}, {'' if is_drained else 'not '}ready again"

    def cut(self, where: str) -> str:
        """Cut the connection of the next request."""
        before = self.proxy.cuts
        self.proxy.arm(where)
        happened = waiting.poll(lambda: self.proxy.cuts > before, seconds=30)
        self.proxy.disarm()
        return "cut" if happened else "no request came"

    def actions(self) -> dict[str, Action]:
        """Every fault by its name."""
        uniform = self.rng.uniform
        return {
            "kill_api": lambda: self.kill_server(SERVER),
            "kill_worker": self.kill_worker,
            "kill_amid_outage": self.kill_amid_outage,
            "kill_kafka": lambda: self.kill_server("kafka"),
            "pause_kafka": lambda: self.pause_server("kafka"),
            "stop_kafka": lambda: self.without("kafka", seconds=uniform(5, 60)),
            "fill_spool": self.fill_spool,
            "stop_stores": lambda: self.without("postgres", "redis", seconds=uniform(2, 10)),
            "cut_reply": lambda: self.cut("reply"),
            "cut_request": lambda: self.cut("request"),
        }


def run(
    stack: Stack,
    *,
    count: int,
    seed: int,
    rate: float,
    only: list[str] | None = None,
    on_fault: Callable[[int, Injection], None] = lambda _number, _injection: None,
) -> Outcome:
    """Strike the API of a running stack ``count`` times under load, then ask the oracle.

    Senders repeat every request until it is acknowledged. Raises ``UnknownFaultError``, and
    ``RuntimeError`` when the load died.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    settings = stack.settings
    outcome = Outcome(seed=seed, rate=rate)
    proxy = Proxy(settings.port(PORT), b"POST /v1/events")
    injector = ApiInjector(stack, rng, proxy)
    actions = injector.actions()
    if unknown := sorted(set(only or ()) - actions.keys()):
        raise UnknownFaultError(
            f"there is no fault {unknown[0]!r}; choose from {', '.join(sorted(actions))}"
        )
    if SERVER not in stack.servers:
        raise RuntimeError("this stack runs no ingestion API")
    with postgres.connect(settings) as connection:
        key = keys.add(connection, keys.NewKey(f"chaos-{seed}", settings.events_topic))
    proxy.start()
    log_file = stack.supervisor.logs / "ingest-scheduler.log"
    scheduler = IngestScheduler({**stack.environment, **ENVIRONMENT}, log_file, RUN_SECONDS)
    plan = send.Plan(seed=seed, rates=faults.rates({}), rate=rate, duration=86_400)
    load = Load(settings, f"http://127.0.0.1:{proxy.port}", key, plan)
    dictionaries.ensure(settings)
    stack.start(SERVER)
    stack.wait_healthy(SERVER)
    waiting.until(lambda: injector.lets_in(key), "the ingestion API to know its key", seconds=60)
    scheduler.start()
    load.start()
    try:
        for number, kind in enumerate(order(only or sorted(actions), count, rng), 1):
            time.sleep(rng.uniform(0.5, 3.0))
            at = time.monotonic() - began
            detail = actions[kind]()
            took = time.monotonic() - began - at
            outcome.injections.append(Injection(kind, round(at, 2), round(took, 2), detail))
            on_fault(number, outcome.injections[-1])
        manifest = load.finish()
        manifest.write(settings.home / "manifests" / f"chaos-api-{seed}.json")
        outcome.messages = manifest.sent
        outcome.reports = [
            acknowledged.verify(manifest, settings, wait_seconds=CATCH_UP_SECONDS),
            conservation.verify(settings, wait_seconds=CATCH_UP_SECONDS),
        ]
    finally:
        load.stopping.set()
        scheduler.stop()
        proxy.stop()
    outcome.seconds = time.monotonic() - began
    return outcome
