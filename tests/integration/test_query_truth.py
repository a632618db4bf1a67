"""Random questions, answered from rollups as plans have it, against plain SQL over events.

The plain statements share nothing with the plans: they cut time with ClickHouse's own functions of
time zones, count distinct users exactly, and make sessions of events with window functions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from tests.helpers import own_warehouse
from tests.integration.transform_bed import COLUMNS, TODAY, Bench, deploy_untested

from millrace.access.roles import Principal
from millrace.api.query import registry
from millrace.api.query.pieces import Piece, Planned
from millrace.api.query.plans import Plan, plan
from millrace.api.query.questions import Question, read_query
from millrace.api.query.registry import Registry
from millrace.api.query.warehouse import Warehouse
from millrace.api.query.wide import Table
from millrace.contract import publication
from millrace.rules import aggregations
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import postgres

QUESTIONS, AT_ONCE = 504, 8
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Lord_Howe", "America/St_Johns",
)  # fmt: skip
HALF_AN_HOUR = ("Australia/Lord_Howe",)
"""Zones whose clock is put by half an hour, which the hour around it takes in."""
PAGES, COUNTRIES, DEVICES = ["/", "/cart", "/it's", "/säge", ""], ["DE", "US", ""], ["a", "b"]
RULES = [
    Rule("pages_seen", "aggregation",
         {"aggregate": "uniq", "field": "page", "by": ["country"], "window_minutes": 5}),
    Rule("mean_user", "aggregation",
         {"aggregate": "avg", "field": "user_id", "by": ["device"], "window_minutes": 10},
         event_type="page_view"),
]  # fmt: skip
PLAIN = {
    "events": ("events", "event_time", "count()", "1"),
    "page_views": ("events", "event_time", "count()", "event_type = 'page_view'"),
    "unique_users": ("events", "event_time", "uniqExact(user_id)", "1"),
    "pages_seen": ("events", "event_time", "uniqExact(page)", "page != ''"),
    "mean_user": ("events", "event_time", "avg(user_id)", "event_type = 'page_view'"),
    "sessions": ("plain_sessions", "started_at", "count()", "1"),
    "visitors": ("plain_sessions", "started_at", "uniqExact(user_id)", "1"),
}
"""Each metric as an analyst would write it: a table, its time, a value, a condition."""
REJECTED = [
    [value, TODAY - timedelta(hours=1)]
    for value in ('{"country": "DE", "device": 1}', '{"country": "DE"}', '{"country', "")
]
PLAIN_SESSIONS = """
CREATE TABLE plain_sessions ENGINE = Memory AS
SELECT
    user_id, min(event_time) AS started_at,
    argMin(country, (event_time, event_id)) AS country,
    argMin(device, (event_time, event_id)) AS device,
    argMinIf(page, (event_time, event_id), page != '') AS entry_page,
    argMaxIf(page, (event_time, event_id), page != '') AS exit_page
FROM (
    SELECT *, sum(starts) OVER (PARTITION BY user_id ORDER BY event_time, event_id) AS number
    FROM (
        SELECT
            *,
            event_time - interval 30 minute > lagInFrame(event_time) OVER (
                PARTITION BY user_id ORDER BY event_time, event_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            ) AS starts
        FROM events
    )
)
GROUP BY user_id, number
"""


def nights(zone: str) -> Iterator[datetime]:
    """When a zone's clock was put during the last year, to the hour."""
    hours = [TODAY - timedelta(hours=hour) for hour in range(24 * 366)]
    for later, before in pairwise(hours):
        offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in (later, before)]
        if offsets[0] != offsets[1]:
            yield before


@dataclass
class Plainly:
    """A warehouse full of events, and where they lie."""

    settings: Settings
    bench: Bench
    around: list[datetime]


@pytest.fixture(scope="module")
def filled(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plainly]:
    """Events of two sources around every night on which a clock was put, and of the last days."""
    home = tmp_path_factory.mktemp("truth")
    kept = settings.model_copy(update={"events_retention_days": 800})
    with own_warehouse.own(kept, home, "truth_test") as own:
        bench = Bench(own)
        around = sorted({night for zone in ZONES for night in nights(zone)})
        around.append(TODAY - timedelta(hours=30))
        for middle in around:
            share = 4_000 // len(around)
            fill(bench, bench.make(share, middle - timedelta(days=1), middle + timedelta(days=1)))
        aggregations.publish(bench.client, own, RULES)
        deploy_untested(own)
        bench.client.command(PLAIN_SESSIONS)
        bench.client.insert("rejected_events", REJECTED, column_names=["value", "rejected_at"])
        yield Plainly(own, bench, around)
        bench.client.close()


def fill(bench: Bench, events: list) -> None:
    """Publish events as one micro-batch, by turns of two sources."""
    with postgres.connect(bench.settings) as ledger, publication.shared(ledger):
        claimed = ledger.execute(
            "INSERT INTO ingest_batches (source_id, gate_id, owner, state, loaded_at)"
            " VALUES ('test', 1, 'test', 'loaded', now()) RETURNING batch_id, claimed_at"
        ).fetchone()
        assert claimed is not None
        batch, at = claimed["batch_id"], claimed["claimed_at"]
        rows = [
            [e.event_id, e.event_time, e.event_type, e.user_id, e.page, e.country, e.device, {}, {},
             {}, [], at, at, ("web", "app")[number % 2], "test", 0, 0, number, batch]
            for number, e in enumerate(events)
        ]  # fmt: skip
        bench.client.insert("events", rows, column_names=COLUMNS)


class Asker:
    """Makes up questions, and the plain statements that answer them."""

    def __init__(self, filled: Plainly, known: Registry) -> None:
        self.chosen = random.Random(20)
        self.filled = filled
        self.known = known

    def question(self) -> tuple[Question, Plan, str]:
        """Return a question, its plan, and its plain statement."""
        choose = self.chosen
        metric, zone = choose.choice(list(PLAIN)), choose.choice(ZONES)
        interval = choose.choice(["", "5min", "15min", "1h", "1h", "1d", "1d", "1w", "1mo"])
        dimensions = self.known.metric(metric).dimensions
        limited = choose.random() < 0.2 and PLAIN[metric][0] == "events"
        if not limited:
            dimensions = tuple(one for one in dimensions if one != "source_id")
        by = choose.sample(dimensions, choose.choice([0, 1, 1, 2]) % (len(dimensions) + 1))
        limit = choose.choice([2, 100])
        range_text, now, where = self.range(interval, zone, PLAIN[metric][1])
        filter_text, filtered = self.filter(metric)
        whose = Principal("ada", "viewer", frozenset({"web"}) if limited else None)
        question = read_query(
            {
                "name": metric, "range": range_text, "interval": interval, "tz": zone,
                "group_by": ",".join(by), "filter": filter_text, "limit": str(limit),
            },
            self.known,
            now,
            whose,
        )  # fmt: skip
        table, time, value, condition = PLAIN[metric]
        conditions = [condition, where, filtered, "source_id = 'web'" if limited else "1"]
        groups = "".join(f", {one}" for one in by)
        rows = f"FROM {table} WHERE {' AND '.join(conditions)}"
        if by:
            rows += (
                f" AND ({', '.join(by)}) IN (SELECT {', '.join(by)} {rows} GROUP BY ALL"
                f" ORDER BY {value} DESC, {', '.join(by)} LIMIT {limit})"
            )
        label = self.label(interval, zone, time)
        plain = f"SELECT {label} AS label{groups}, {value} AS found {rows} GROUP BY label{groups}"
        return question, plan(question, metric, self.known), plain

    def range(self, interval: str, zone: str, time: str) -> tuple[str, datetime, str]:
        """Return a range as people write it, the time of asking, and what it means in SQL."""
        choose = self.chosen
        middle = choose.choice(self.filled.around)
        minutes = 60 * 24
        first = middle + timedelta(minutes=choose.randint(-minutes, minutes))
        last = first + timedelta(minutes=choose.choice([1, 30, 90, 600, 1440, 2880]))
        of_zone = f"toDate({time}, '{zone}')"
        today = f"toDate(toDateTime('{last:%Y-%m-%d %H:%M:%S}', 'UTC'), '{zone}')"
        if interval in ("", "1d") and choose.random() < 0.5:
            text, plain = choose.choice([
                ("3d", f"{of_zone} BETWEEN {today} - 2 AND {today}"),
                ("today", f"{of_zone} = {today}"),
                ("yesterday", f"{of_zone} = {today} - 1"),
                ("this_week", f"toMonday({of_zone}) = toMonday({today})"),
                ("last_week", f"toMonday({of_zone}) = toMonday({today}) - 7"),
                ("this_month", f"toStartOfMonth({of_zone}) = toStartOfMonth({today})"),
            ])  # fmt: skip
            return text, last, plain
        text = f"{first:%Y-%m-%dT%H:%MZ}/{last:%Y-%m-%dT%H:%MZ}"
        if not interval:
            bounds = [f"toDateTime64('{one:%Y-%m-%d %H:%M:%S}', 3, 'UTC')" for one in (first, last)]
            return text, TODAY, f"({time} >= {bounds[0]} AND {time} < {bounds[1]})"
        ends = [first, last - timedelta(milliseconds=1)]
        texts = [f"toDateTime64('{one:%Y-%m-%d %H:%M:%S.%f}', 3, 'UTC')" for one in ends]
        labels = [self.label(interval, zone, one) for one in (time, *texts)]
        return text, TODAY, f"({labels[0]} BETWEEN {labels[1]} AND {labels[2]})"

    def label(self, interval: str, zone: str, time: str) -> str:
        """Return what a zone's clock shows, so far as it tells buckets apart, in their order."""
        day = f"toDate({time}, '{zone}')"
        hour, before = f"toHour({time}, '{zone}')", f"-timeZoneOffset(toTimeZone({time}, '{zone}'))"
        if interval in ("5min", "15min"):
            step = interval.removesuffix("min")
            minute = f"intDiv(toMinute({time}, '{zone}'), {step}) * {step}"
            return f"({day}, {hour}, {before}, {minute})"
        if interval == "1h":
            return f"({day}, {hour}, {'0' if zone in HALF_AN_HOUR else before})"
        if interval == "":
            return "0"
        of = {"1d": "{}", "1w": "toMonday({})", "1mo": "toStartOfMonth({})"}[interval]
        return f"({of.format(day)}, 0)"

    def filter(self, metric: str) -> tuple[str, str]:
        """Return a filter as people write it, and what it means in SQL."""
        dimensions = self.known.metric(metric).dimensions
        texts, plain = [], ["1"]
        if self.chosen.random() < 0.6:
            for name, values in (("country", COUNTRIES), ("device", DEVICES), ("page", PAGES)):
                if name in dimensions and self.chosen.random() < 0.5:
                    wanted = self.chosen.sample(values, self.chosen.randint(1, 2))
                    mark, negation = self.chosen.choice([(":", ""), ("!:", "NOT")])
                    texts.append(f"{name}{mark}{'|'.join(wanted)}")
                    quoted = ", ".join(f"'{one}'".replace("/it's", "/it\\'s") for one in wanted)
                    plain.append(f"{name} {negation} IN ({quoted})")
        return ",".join(texts), " AND ".join(plain)


def labels(question: Question) -> list[object]:
    """Return how the zone's clock names each bucket, as ``Asker.label`` does in SQL."""
    found: list[object] = []
    for bucket in question.buckets:
        local = bucket.start.astimezone(ZoneInfo(question.zone))
        before = -int((local.utcoffset() or timedelta()).total_seconds())
        day, minute = local.date().isoformat(), local.minute
        match question.interval:
            case "":
                found.append(0)
            case "5min" | "15min":
                found.append((day, local.hour, before, minute))
            case "1h":
                found.append((day, local.hour, 0 if question.zone in HALF_AN_HOUR else before))
            case _:
                found.append((day, 0))
    return found


def test_random_questions_agree_with_plain_sql_over_events(filled: Plainly) -> None:
    used: set[str] = set()
    shared: set[tuple[str, tuple[str, ...]]] = set()
    wrong: list[str] = []

    async def compare(warehouse: Warehouse, question: Question, planned: Plan, plain: str) -> int:
        statement, bound = planned.statement(question.buckets)
        answer, expected = await asyncio.gather(
            warehouse.ask(statement, bound), warehouse.ask(plain)
        )
        names = labels(question)
        assert len(set(names)) == len(names)
        found = {(names[row[0]], *row[1:-1]): row[-1] for row in answer.rows}
        wanted = {
            (tuple(row[0]) if isinstance(row[0], list) else row[0], *row[1:-1]): row[-1]
            for row in expected.rows
        }
        if found != pytest.approx(wanted, rel=1e-12):
            wrong.append(f"{question.key}\n{statement}\n{plain}\n{found}\n{wanted}")
        if planned.spread:
            whole = Piece(question.buckets, 0, "", question.start, question.end)
            of_all, bound = Planned(planned, [whole]).wide_statement(0)
            table = Table(planned.spread, (await warehouse.ask(of_all, bound)).rows)
            if table.rows(question) != answer.rows:
                wrong.append(f"{question.key}\n{of_all}\n{statement}\n{answer.rows}")
            shared.add((planned.metric, planned.spread))
        used.update(planned.rollup.split("+"))
        return len(wanted)

    async def compare_all() -> int:
        warehouse, values = Warehouse(filled.settings), 0
        await warehouse.start()
        try:
            asker = Asker(filled, await registry.read(warehouse))
            for _ in range(QUESTIONS // AT_ONCE):
                asked = [compare(warehouse, *asker.question()) for _ in range(AT_ONCE)]
                values += sum(await asyncio.gather(*asked))
        finally:
            await warehouse.stop()
        return values

    values = asyncio.run(compare_all())
    assert not wrong, f"{len(wrong)} of {QUESTIONS} questions, the first:\n{wrong[0]}"
    assert values > 2_000
    assert len(shared) > 20, "values by all dimensions were asked, too"
    assert used == {
        "metrics_1h", "metrics_5min", "metrics_1min", "page_views_1d", "page_views_1h",
        "page_views_1min", "unique_users_1h", "unique_users_5min", "sessions", "events",
    }  # fmt: skip


def test_every_metric_is_answered_by_each_of_its_dimensions(filled: Plainly) -> None:
    async def ask_all() -> dict[str, dict[str, float]]:
        warehouse = Warehouse(filled.settings)
        await warehouse.start()
        try:
            known = await registry.read(warehouse)
            found: dict[str, dict[str, float]] = {}
            for name, metric in known.metrics.items():
                for dimension in ("", *metric.dimensions):
                    asked = {"name": name, "group_by": dimension, "range": "380d", "limit": "10000"}
                    question = read_query(asked, known, TODAY, Principal("ada", "viewer"))
                    statement, bound = plan(question, name, known).statement(question.buckets)
                    rows = (await warehouse.ask(statement, bound)).rows
                    if metric.adds_up:
                        found.setdefault(name, {})[dimension] = sum(row[-1] for row in rows)
                    if (name, dimension) == ("rejected_events", "country"):
                        assert rows == [[0, "", 2], [0, "DE", 2]]
            return found
        finally:
            await warehouse.stop()

    found = asyncio.run(ask_all())
    assert {"events", "page_views", "sessions", "funnel_users", "retained_users"} < set(found)
    for name, totals in found.items():
        assert len(set(totals.values())) == 1, f"{name} by its dimensions: {totals}"
        assert totals[""] > 0, name
