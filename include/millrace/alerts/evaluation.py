"""Evaluate rules in ClickHouse: rules of one shape in one statement, any number of minutes at once.

What a statement costs is its planning, hardly its data, and a rule more of a shape already there
costs next to nothing. A rule comes out as it would alone, whatever the others of its batch do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.alerts import promql
from millrace.alerts.model import Labels, Result, Rule, fingerprint
from millrace.alerts.promql import lanes
from millrace.alerts.samples import StoredSamples
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.stores.errors import plain

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
LABEL_LENGTH = 2_048
"""Characters of a label's value; a longer one is cut."""

SERIES_LIMIT = 10_000
"""More series than this from one rule is a mistake in its expression, not ten thousand alerts."""
TIMEOUT_SECONDS = 10
THREADS = 2
"""Statements that run at once: rules share what others leave of the warehouse."""
BATCH_LIMIT = 50
"""Rules in one statement: enough to plan few, and few enough to keep every thread busy."""
BATCH_MINUTES = 600
"""Rules times minutes in one statement: over many minutes data is what costs, and time runs out."""
Row = tuple[int, int, Labels, float]


def milliseconds(moment: datetime) -> int:
    """Return ms since 1970."""
    return round(moment.timestamp() * 1000)


def statement(rules: Sequence[Rule], minutes: int = 1) -> str:
    """Return the SQL that judges rules of one shape at ``minutes`` evaluation times.

    Raises ``promql.UnsupportedError`` for an expression that is not covered.
    """
    batch = promql.Batch([rule.parsed for rule in rules], StoredSamples())
    return sql.render(
        "clickhouse/alerts/evaluation.sql",
        statement=batch.statement(),
        selectors=batch.presences(),
        row_limit=SERIES_LIMIT * minutes + 1,
        timeout_seconds=TIMEOUT_SECONDS,
    )


def batches(rules: Sequence[Rule], minutes: int = 1) -> list[list[Rule]]:
    """Return the rules in groups that one statement each can judge at so many minutes."""
    size = max(1, min(BATCH_LIMIT, BATCH_MINUTES // minutes))
    by_shape: dict[str, list[Rule]] = {}
    for rule in rules:
        try:
            key = rule.parsed.shape.key
        except Exception:  # noqa: BLE001  it is told when the rule is judged, alone
            key = f"unsupported: {rule.name}"
        by_shape.setdefault(key, []).append(rule)
    return [
        alike[at : at + size] for alike in by_shape.values() for at in range(0, len(alike), size)
    ]


def minutes_between(first: datetime, last: datetime) -> list[datetime]:
    """Return the minutes from ``first`` to ``last``, both included."""
    return [first + MINUTE * i for i in range(int((last - first) / MINUTE) + 1)]


class Evaluator:
    """Judges rules, a few batches at a time. A context manager, which closes its connections."""

    def __init__(self, settings: Settings, threads: int = THREADS) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(threads)
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
            self._local.client = clickhouse.connect(self._settings, "alerts")
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
        minutes = minutes_between(first, last)
        found: dict[str, dict[datetime, Result]] = {}
        together = batches(rules, len(minutes))
        for judged in self._pool.map(lambda batch: self._judge(batch, first, last), together):
            found.update(judged)
        return {m: {rule.name: found[rule.name][m] for rule in rules} for m in minutes}

    def _judge(
        self, rules: Sequence[Rule], first: datetime, last: datetime
    ) -> dict[str, dict[datetime, Result]]:
        """Judge rules of one shape; those of a statement that fails, again in smaller ones."""
        minutes = minutes_between(first, last)
        failed_soon = True
        try:
            rows = self.rows(statement(rules, len(minutes)), first, last)
            if len(rows) <= SERIES_LIMIT * len(minutes):
                return {
                    rule.name: results(rule, own, minutes)
                    for rule, own in zip(rules, _by_rule(rows, len(rules)), strict=True)
                }
            failure = f"more than {SERIES_LIMIT} series; aggregate the expression (sum by …)"
        except Exception as error:
            if not isinstance(error, (ClickHouseError, promql.UnsupportedError)):
                log.exception("cannot judge %s", ", ".join(rule.name for rule in rules))
            if len(rules) == 1 and len(minutes) > 1:
                return {rules[0].name: self._judge_each(rules[0], minutes)}
            failure = plain(error)[:500]
            failed_soon = getattr(error, "name", None) not in (None, "TIMEOUT_EXCEEDED")
        if len(rules) == 1:
            return {rules[0].name: dict.fromkeys(minutes, Result("error", detail=failure))}
        # Halving finds the rule at fault, but each half would wait for one that takes too long.
        size = (len(rules) + 1) // 2 if failed_soon else 1
        parts = [rules[at : at + size] for at in range(0, len(rules), size)]
        return {n: r for part in parts for n, r in self._judge(part, first, last).items()}

    def _judge_each(self, rule: Rule, minutes: Sequence[datetime]) -> dict[datetime, Result]:
        """Judge a rule minute by minute: one that fails must not take the others with it.

        The rest is not tried once a minute alone took all the time there is: each would, and every
        other rule waits.
        """
        found: dict[datetime, Result] = {}
        for minute in minutes:
            began = time.monotonic()
            found |= self._judge([rule], minute, minute)[rule.name]
            took_all = time.monotonic() - began >= TIMEOUT_SECONDS
            if took_all and found[minute].status == "error":
                detail = f"not tried, since the minute {minute:%H:%M} took too long"
                rest = [one for one in minutes if one > minute]
                return found | dict.fromkeys(rest, Result("error", detail=detail))
        return found

    def rows(self, query: str, first: datetime, last: datetime) -> list[Row]:
        """Return what a compiled query gives at every minute from ``first`` to ``last``."""
        bounds = {"start": milliseconds(first), "end": milliseconds(last), "step": 60_000}
        answer = self._client().query(query, parameters=bounds)
        return list(answer.result_rows)  # type: ignore[arg-type]


def _by_rule(rows: Sequence[Row], rules: int) -> list[list[Row]]:
    """Sort a statement's rows by the rule that they belong to."""
    found: list[list[Row]] = [[] for _ in range(rules)]
    for t, part, labels, value in rows:
        lane, at = lanes.split(t)
        found[lane].append((at, part, labels, value))
    return found


def results(rule: Rule, rows: Sequence[Row], minutes: Sequence[datetime]) -> dict[datetime, Result]:
    """Sort a rule's rows into results by minute."""
    series: dict[int, dict[str, tuple[Labels, float]]] = {}
    present: dict[int, set[int]] = {}
    for at, part, labels, value in rows:
        if part < 0:
            kept = _kept(labels)
            series.setdefault(at, {}).setdefault(fingerprint(kept), (kept, float(value)))
        else:
            present.setdefault(at, set()).add(part)
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
            sorted(series.get(at, {}).values(), key=lambda item: sorted(item[0].items())),
            missing,
            f"no samples for {', '.join(missing)}" if missing else "",
        )
    return found


def _kept(labels: Labels) -> Labels:
    """Return labels as states keep them, since an alert is told again by the labels it had."""
    return {name: postgres.shortened(text, LABEL_LENGTH) for name, text in labels.items()}


def _is_demanded(rule: Rule, minute: datetime, selector: promql.Selector) -> bool:
    """Return whether samples must be there: not while the window reaches before the rule."""
    if rule.created_at is None:
        return True
    reach = timedelta(milliseconds=selector.offset_ms + selector.window_ms)
    return minute - reach >= rule.created_at.astimezone(UTC)
