"""Evaluate rules in ClickHouse: one statement a rule, any number of minutes at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.alerts import promql
from millrace.alerts.model import Labels, Result, Rule
from millrace.alerts.samples import StoredSamples
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

MINUTE = timedelta(minutes=1)
SERIES_LIMIT = 10_000
"""More series than this from one rule is a mistake in its expression, not ten thousand alerts."""
TIMEOUT_SECONDS = 10


def milliseconds(moment: datetime) -> int:
    """Return ms since 1970."""
    return round(moment.timestamp() * 1000)


def statement(rule: Rule, minutes: int = 1) -> str:
    """Return the SQL that judges a rule at ``minutes`` evaluation times.

    Raises ``promql.UnsupportedError`` for an expression that is not covered.
    """
    samples = StoredSamples()
    return sql.render(
        "clickhouse/alerts/evaluation.sql",
        statement=rule.parsed.statement(samples),
        selectors=[selector.presence(samples) for selector in rule.parsed.selectors],
        row_limit=SERIES_LIMIT * minutes + 1,
        timeout_seconds=TIMEOUT_SECONDS,
    )


def minutes_between(first: datetime, last: datetime) -> list[datetime]:
    """Return the minutes from ``first`` to ``last``, both included."""
    return [first + MINUTE * i for i in range(int((last - first) / MINUTE) + 1)]


class Evaluator:
    """Judges rules, a few at a time. Use as a context manager; it closes its connections."""

    def __init__(self, settings: Settings, threads: int | None = None) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(threads or settings.alert_threads)
        self._local = threading.local()
        self._clients: list[Client] = []

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown()
        for client in self._clients:
            client.close()

    def _client(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = clickhouse.connect(self._settings)
            self._clients.append(self._local.client)
        client: Client = self._local.client
        return client

    def evaluate(
        self, rules: Sequence[Rule], first: datetime, last: datetime
    ) -> dict[datetime, dict[str, Result]]:
        """Return every rule's result at every minute from ``first`` to ``last``.

        One rule's failure is that rule's result, and nobody else's. Raises
        ``clickhouse_connect.driver.exceptions.OperationalError`` when no server answers.
        """
        self._client().command("SELECT 1")  # no server is a failure of the run, not of each rule
        per_rule = list(self._pool.map(lambda rule: self._rule(rule, first, last), rules))
        return {
            minute: {rule.name: found[minute] for rule, found in zip(rules, per_rule, strict=True)}
            for minute in minutes_between(first, last)
        }

    def _rule(self, rule: Rule, first: datetime, last: datetime) -> dict[datetime, Result]:
        minutes = minutes_between(first, last)
        try:
            rows = self.rows(statement(rule, len(minutes)), first, last)
        except (ClickHouseError, promql.UnsupportedError) as error:
            if len(minutes) == 1:
                return {first: Result("error", detail=str(error)[:500])}
            # A minute that fails must not take the others with it.
            return {m: result for at in minutes for m, result in self._rule(rule, at, at).items()}
        return results(rule, rows, minutes)

    def rows(
        self, query: str, first: datetime, last: datetime
    ) -> list[tuple[int, int, Labels, float]]:
        """Return what a compiled query gives at every minute from ``first`` to ``last``."""
        bounds = {"start": milliseconds(first), "end": milliseconds(last), "step": 60_000}
        answer = self._client().query(query, parameters=bounds)
        return list(answer.result_rows)  # type: ignore[arg-type]


def results(
    rule: Rule, rows: Sequence[tuple[int, int, Labels, float]], minutes: Sequence[datetime]
) -> dict[datetime, Result]:
    """Sort a statement's rows into results by minute."""
    series: dict[int, list[tuple[Labels, float]]] = {}
    present: dict[int, set[int]] = {}
    for at, part, labels, value in rows:
        if part < 0:
            series.setdefault(at, []).append((dict(labels), value))
        else:
            present.setdefault(at, set()).add(part)
    if len(rows) > SERIES_LIMIT * len(minutes):
        detail = f"more than {SERIES_LIMIT} series; aggregate the expression (sum by …)"
        return {minute: Result("error", detail=detail) for minute in minutes}
    found = {}
    for minute in minutes:
        at = milliseconds(minute)
        missing = [
            selector.text
            for part, selector in enumerate(rule.parsed.selectors)
            if part not in present.get(at, ()) and _is_demanded(rule, minute, selector)
        ]
        found[minute] = Result(
            "no_data" if missing else "ok",
            sorted(series.get(at, []), key=lambda item: sorted(item[0].items())),
            missing,
            f"no samples for {', '.join(missing)}" if missing else "",
        )
    return found


def _is_demanded(rule: Rule, minute: datetime, selector: promql.Selector) -> bool:
    """Return whether samples must be there: not while the window reaches before the rule."""
    if rule.created_at is None:
        return True
    reach = timedelta(milliseconds=selector.offset_ms + selector.window_ms)
    return minute - reach >= rule.created_at.astimezone(UTC)
