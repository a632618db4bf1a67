"""Ingest under fire: killed, paused, cut, set back, and no difference in the end.

What is left afterwards is built into models, and a day of it is rebuilt: every model must say what
plain Python says of the events that the simulation's manifest stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console
from tests.helpers import sent, wait
from tests.integration.transform_bed import Bench, check_models, check_operations, check_rollups

from millrace.ingest import rebuild
from millrace.lab import stacks
from millrace.lab.chaos import campaign, topic
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.verify import rollups
from millrace.stack.stack import Stack
from millrace.transform import project, watermark

SEED = 4
SENDERS = ("chaos", "chaos-strangers")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A data stack of its own: what happens here must be in no other test's way."""
    home: Path = tmp_path_factory.mktemp("arena")
    with stacks.running(home, with_airflow=False, **campaign.ENVIRONMENT) as started:
        yield started


@pytest.mark.timeout(1500)
def test_workers_and_servers_under_fire(arena: Stack) -> None:
    outcome = campaign.run(arena, count=28, seed=SEED, rate=1000)
    for report in outcome.reports:
        report.print(Console())
    assert len(outcome.injections) == 28
    assert outcome.messages > 0
    checks = {check.name: check for report in outcome.reports for check in report.checks}
    assert all(one.table in checks[rollups.NAME].compared for one in rollups.ROLLUPS)
    skipped = [c.skipped for report in outcome.reports for c in report.checks if c.skipped]
    assert [why for why in skipped if not why.endswith(f"not {topic.NAME}")] == []
    assert outcome.differences == 0


@pytest.fixture(scope="module")
def bench(arena: Stack) -> Iterator[Bench]:
    """The warehouse that the campaign left, and the events that it must hold."""
    bench = Bench(arena.settings)
    bench.events = sent.accepted(manifest(arena)) + sent.noted(manifest(arena, "chaos-strangers"))
    yield bench
    bench.client.close()


def test_every_model_is_right_after_the_fire(arena: Stack, bench: Bench) -> None:
    def is_published() -> bool:
        through = watermark.record_published_through(arena.settings).timestamp()
        newer = f"ingested_at >= fromUnixTimestamp64Milli({int(through * 1000)})"
        return bench.rows(f"SELECT count() FROM events WHERE {newer}") == [(0,)]

    wait.until(is_published, 60)
    build_models(arena)
    check_every_model(arena, bench)


def test_every_model_is_right_after_a_day_was_rebuilt(arena: Stack, bench: Bench) -> None:
    day = Counter(e.event_time.date() for e in bench.events).most_common(1)[0][0]
    plant_wrong_rows(bench, day)
    with pytest.raises(AssertionError, match="metrics_1h"):
        check_rollups(bench)

    report = rebuild.rebuild(arena.settings, day)

    assert report.judged > len(bench.events) / 2
    build_models(arena)
    check_every_model(arena, bench)


def manifest(arena: Stack, name: str = "chaos") -> Manifest:
    """Return what the campaign sent."""
    return Manifest.read(arena.settings.home / "manifests" / f"{name}-{SEED}.json")


def build_models(arena: Stack) -> None:
    """Build what is not built on insert, up to the ledger's watermark, as ``build_models`` does."""
    watermark.record_published_through(arena.settings)
    variables = project.environment(arena.settings, project.PRODUCTION)
    project.run(["run", "--exclude", "config.materialized:materialized_view"], variables)


def plant_wrong_rows(bench: Bench, day: date) -> None:
    """Put an hour's events and a day's page views into rollups that no event stands for."""
    bench.client.command(
        "INSERT INTO analytics.metrics_1h (window_start, event_type, country, device, events)"
        f" VALUES ('{day} 00:00:00', 'page_view', 'US', 'mobile', 1)"
    )
    bench.client.command(
        "INSERT INTO analytics.page_views_1d (window_start, page, country, device, page_views)"
        f" VALUES ('{day} 00:00:00', '/', 'US', 'mobile', 1)"
    )


def check_every_model(arena: Stack, bench: Bench) -> None:
    """Hold every mart against plain Python, and see that none was left out."""
    bench.asked.clear()
    check_rollups(bench)
    check_models(bench)
    rejected = sum((Counter(manifest(arena, name).rejected) for name in SENDERS), Counter())
    check_operations(bench, rejected, of_other_tables=[topic.NAME])
    assert {path.stem for path in (project.SOURCE / "models" / "marts").rglob("*.sql")} <= set(
        re.findall(r"analytics\.(\w+)", " ".join(bench.asked))
    )
