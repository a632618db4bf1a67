"""A campaign: load, faults at random, and the proof at its end."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from millrace.lab.chaos.faults import Action, AirflowInjector, WorkerInjector
from millrace.lab.chaos.ingest_scheduler import IngestScheduler
from millrace.lab.chaos.load import Load, StrangersLoad
from millrace.lab.chaos.proxy import Proxy
from millrace.lab.chaos.topic import RemadeTopic
from millrace.lab.simulate import faults as traffic_faults
from millrace.lab.simulate import send
from millrace.lab.verify import conservation, simulation
from millrace.lab.verify.report import Report
from millrace.stack.stack import Stack
from millrace.stores import dictionaries

log = logging.getLogger(__name__)

LEASE_SECONDS = 3.0
RUN_SECONDS = 12.0
CATCH_UP_SECONDS = 180.0
MOST_IDLE_WAITS = 3
"""How many faults in a row may see no progress, each for a minute, until ingest stands still."""

ENVIRONMENT = {
    "MILLRACE_INGEST_LEASE_SECONDS": str(LEASE_SECONDS),
    "MILLRACE_INGEST_RUN_SECONDS": str(RUN_SECONDS),
}
"""What a stack must be started with, so that leases and runs end often enough to be hit."""

MANIFESTS = ("chaos-remade", "chaos", "chaos-strangers")
"""Names of a campaign's manifests: of the topic recreated last, the traffic, strangers."""

AIRFLOW_ENVIRONMENT = ENVIRONMENT | {"MILLRACE_INGEST_RUN_SECONDS": "60"}
"""The same for a stack with Airflow, which takes seconds to start a run."""


class UnknownFaultError(LookupError):
    """A kind of fault was asked for that there is not; the message says which there are."""


@dataclass
class Injection:
    """A fault as it happened: when (seconds since the start), how long it took, what it hit."""

    kind: str
    at: float
    seconds: float
    detail: str


@dataclass
class Outcome:
    """What a campaign did, and what the oracle says afterwards."""

    seed: int
    rate: float
    injections: list[Injection] = field(default_factory=list)
    messages: int = 0
    seconds: float = 0
    reports: list[Report] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """Lost, repeated or unexplained messages and counts, over all checks."""
        return sum(report.differences for report in self.reports)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            "seed": self.seed,
            "rate": self.rate,
            "messages": self.messages,
            "seconds": round(self.seconds, 1),
            "faults": len(self.injections),
            "faults_by_kind": dict(sorted(Counter(one.kind for one in self.injections).items())),
            "differences": self.differences,
            "reports": {
                report.subject: {
                    check.name: {
                        "compared": check.skipped or check.compared,
                        "differences": len(check.differences),
                    }
                    for check in report.checks
                }
                for report in self.reports
            },
            "injections": [asdict(one) for one in self.injections],
        }


def order(kinds: list[str], count: int, rng: random.Random) -> list[str]:
    """Return ``count`` kinds in random order, each as often as the others or once more."""
    chosen: list[str] = []
    while len(chosen) < count:
        chosen += rng.sample(kinds, len(kinds))
    return chosen[:count]


def run(
    stack: Stack,
    *,
    count: int,
    seed: int,
    rate: float,
    only: list[str] | None = None,
    on_fault: Callable[[int, Injection], None] = lambda _number, _injection: None,
) -> Outcome:
    """Strike a running stack ``count`` times under load, then ask the oracle.

    A stack with Airflow is loaded by its DAGs; one without, by an ingest scheduler. Its connections
    to ClickHouse are cut, too. ``only`` names the kinds of fault; all of them by default. The
    seed fixes which faults come in which order, their pauses and the traffic; where exactly a
    process is when it is hit, only the moment knows. Raises ``UnknownFaultError``.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    outcome = Outcome(seed=seed, rate=rate)
    plan = send.Plan(
        seed=seed, rates=traffic_faults.rates({"huge": 0.0001}), rate=rate, duration=86_400
    )
    topic = stack.settings.events_topic
    loads = [kind(stack.settings, topic, plan) for kind in (Load, StrangersLoad)]
    remade = RemadeTopic(stack.settings, rng, seed)
    with_airflow = bool(stack.names("airflow"))
    proxy = Proxy(stack.settings.port("clickhouse"))
    proxy.start()
    log_file = stack.supervisor.logs / "ingest-scheduler.log"
    scheduler = IngestScheduler(_scheduler_environment(stack, proxy), log_file, RUN_SECONDS)
    injector: AirflowInjector | WorkerInjector
    if with_airflow:
        injector = AirflowInjector(stack, rng, remade)
    else:
        injector = WorkerInjector(stack, rng, remade, scheduler, proxy)
    actions: dict[str, Action] = injector.actions()
    if unknown := sorted(set(only or ()) - actions.keys()):
        raise UnknownFaultError(
            f"there is no fault {unknown[0]!r}; choose from {', '.join(sorted(actions))}"
        )
    kinds = order(only or sorted(actions), count, rng)
    remade.start()
    if not with_airflow:
        dictionaries.ensure(stack.settings)
        injector.models.start()
        scheduler.start()
    for load in loads:
        load.start()
    try:
        if not injector.await_progress(1, 240):
            raise RuntimeError(f"ingest loads nothing; see {stack.supervisor.logs}")
        idle_waits = 0
        for number, kind in enumerate(kinds, 1):
            time.sleep(rng.uniform(0.0, 1.0))
            at = time.monotonic() - began
            detail = actions[kind]()
            took = time.monotonic() - began - at
            injection = Injection(kind, round(at, 2), round(took, 2), detail)
            outcome.injections.append(injection)
            on_fault(number, injection)
            if rng.random() < 0.6:  # else the next one comes before this one is over
                idle_waits = 0 if injector.await_progress(1) else idle_waits + 1
                if idle_waits >= MOST_IDLE_WAITS:
                    raise RuntimeError(
                        f"ingest stands still after fault {number}, {kind}; see {log_file}"
                    )
        manifests = [remade.finish(), *(load.finish() for load in loads)]
        for manifest, name in zip(manifests, MANIFESTS, strict=True):
            outcome.messages += manifest.sent
            manifest.write(stack.settings.home / "manifests" / f"{name}-{seed}.json")
            simulation.await_loaded(manifest, stack.settings, wait_seconds=CATCH_UP_SECONDS)
        injector.models.build_up_to(datetime.now(UTC), CATCH_UP_SECONDS)
        outcome.reports = [
            simulation.verify(manifest, stack.settings, wait_seconds=CATCH_UP_SECONDS)
            for manifest in manifests
        ]
        outcome.reports.append(conservation.verify(stack.settings, wait_seconds=CATCH_UP_SECONDS))
    finally:
        remade.stop()
        for load in loads:
            load.stopping.set()
        scheduler.stop()
        proxy.stop()
    outcome.seconds = time.monotonic() - began
    return outcome


def _scheduler_environment(stack: Stack, proxy: Proxy) -> dict[str, str]:
    settings = stack.settings
    own = str(settings.port("clickhouse"))
    return {
        **stack.environment,
        **ENVIRONMENT,
        "MILLRACE_CLICKHOUSE_URL": settings.clickhouse_url.replace(f":{own}/", f":{proxy.port}/"),
    }
