"""Audit a closed window with Great Expectations, then publish or withhold it.

Every expectation runs as a query in ClickHouse over a view of the window. The view is a table to
Great Expectations on purpose: given a query, it reads the whole result to learn the columns.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from clickhouse_connect.driver.client import Client

from millrace.quality import docs
from millrace.quality.suites import Suite, build, load_suites
from millrace.quality.windows import Window, closed_windows
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

log = logging.getLogger(__name__)


class QualityError(RuntimeError):
    """A window did not hold what is expected of it; the message says what is wrong."""


@dataclass(frozen=True)
class Finding:
    """The result of one expectation."""

    expectation: str
    severity: str
    is_success: bool
    observed: dict[str, Any]


@dataclass(frozen=True)
class Audit:
    """The results of one dataset's window."""

    dataset: str
    window: Window
    report: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        """What failed and withholds the window."""
        return [f for f in self.findings if not f.is_success and f.severity == "critical"]

    @property
    def warnings(self) -> list[Finding]:
        """What failed and is only reported."""
        return [f for f in self.findings if not f.is_success and f.severity != "critical"]

    def summary(self) -> str:
        """Return a few lines that a person can act on."""
        verdict = "WITHHELD" if self.failures else "published"
        lines = [f"{self.dataset} {self.window.name}: {verdict}"]
        for found in [*self.failures, *self.warnings]:
            lines.append(f"  {found.severity}: {found.expectation} Found {found.observed}")
        return "\n".join([*lines, f"  report: {self.report}"])


def warehouse_dsn(settings: Settings) -> str:
    """Return the warehouse's address for the ``clickhouse+http`` dialect, password filled in."""
    url = urlsplit(settings.clickhouse_url)
    password = url.password or settings.clickhouse_password.get_secret_value()
    user = quote(url.username or "default", safe="")
    secret = f":{quote(password, safe='')}" if password else ""
    place = f"{user}{secret}@{url.hostname}:{url.port or 8123}"
    path = f"/{clickhouse.database(settings)}"
    query = "protocol=https" if url.scheme == "https" else ""
    return urlunsplit(("clickhouse+http", place, path, query, ""))


def audit_closed(settings: Settings, kind: str, now: datetime | None = None) -> list[Audit]:
    """Audit every closed window of a kind that has data and was not audited yet.

    Results go to ``quality_results``, verdicts to ``published_windows``, reports to the Data Docs.
    Raises what the stores raise; a window whose audit was cut is audited anew.
    """
    moment = now or datetime.now(UTC)
    windows = closed_windows(kind, moment)
    suites = [suite for suite in load_suites() if kind in suite.windows]
    client = clickhouse.connect(settings)
    try:
        waiting = [
            (suite, window)
            for suite in suites
            for window in _with_data(client, suite, windows)
            if not _is_audited(settings, suite, window)
        ]
    finally:
        client.close()
    return run(settings, waiting) if waiting else []


def _with_data(client: Client, suite: Suite, windows: list[Window]) -> list[Window]:
    """Return the windows that hold rows, and the last one in any case: silence is a finding."""
    if not windows:
        return []
    seconds = int((windows[0].end - windows[0].start).total_seconds())
    rows = client.query(
        sql.render(
            "clickhouse/quality/windows_with_data.sql",
            table=suite.table,
            time_column=suite.time_column,
        ),
        parameters={"start": windows[0].start, "end": windows[-1].end, "seconds": seconds},
    ).result_rows
    filled = {row[0] for row in rows}
    return [w for w in windows if w == windows[-1] or int(w.start.timestamp()) in filled]


def _is_audited(settings: Settings, suite: Suite, window: Window) -> bool:
    with postgres.connect(settings) as connection:
        found = connection.execute(
            "SELECT 1 FROM published_windows "
            "WHERE dataset = %s AND window_start = %s AND window_end = %s",
            [suite.dataset, window.start, window.end],
        ).fetchone()
    return found is not None


def run(settings: Settings, pairs: list[tuple[Suite, Window]]) -> list[Audit]:
    """Audit the given windows, keep and publish the results, and bring the reports up to date."""
    context = docs.open_context(settings)
    source = context.data_sources.add_or_update_sql(
        "warehouse", connection_string=warehouse_dsn(settings)
    )
    client = clickhouse.connect(settings)
    try:
        audits = [_audit(client, context, source, suite, window) for suite, window in pairs]
        for audit in audits:
            _keep(client, audit)
    finally:
        client.close()
    published = {suite.dataset for suite, _ in pairs if suite.publishes}
    with postgres.connect(settings) as connection:
        for audit in audits:
            if audit.dataset in published:
                _publish(connection, audit)
        docs.write_front_page(settings, connection)
    docs.upload(settings)
    return audits


def _audit(client: Client, context: Any, source: Any, suite: Suite, window: Window) -> Audit:
    import great_expectations as gx

    name = f"audited_{suite.dataset}_{window.kind}"
    client.command(
        sql.render(
            "clickhouse/quality/audited_view.sql",
            view=name,
            table=suite.table,
            time_column=suite.time_column,
            start=f"{window.start:%Y-%m-%d %H:%M:%S}",
            end=f"{window.end:%Y-%m-%d %H:%M:%S}",
        )
    )
    label = f"{suite.dataset}_{window.kind}"
    for asset in [asset for asset in source.assets if asset.name == label]:
        source.delete_asset(asset.name)
    batch = source.add_table_asset(label, table_name=name).add_batch_definition_whole_table("w")
    expected = context.suites.add_or_update(
        gx.ExpectationSuite(name=label, expectations=build(suite, window.kind))
    )
    validation = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=label, data=batch, suite=expected)
    )
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(
            name=label,
            validation_definitions=[validation],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
            result_format="SUMMARY",
        )
    )
    run_id = gx.core.run_identifier.RunIdentifier(run_name=window.name, run_time=datetime.now(UTC))
    outcome = checkpoint.run(run_id=run_id)
    ((identifier, result),) = outcome.run_results.items()
    return Audit(
        dataset=suite.dataset,
        window=window,
        report=docs.page_of(identifier),
        findings=[_finding(one) for one in result.results],
    )


def _finding(result: Any) -> Finding:
    config = result.expectation_config
    severity = getattr(config.severity, "value", config.severity) or "critical"
    wanted = ("observed_value", "unexpected_count", "element_count", "unexpected_percent")
    observed = {key: result.result[key] for key in wanted if key in result.result}
    shown = result.result.get("partial_unexpected_list") or (
        result.result.get("details", {}).get("unexpected_rows")
    )
    if shown and not result.success:
        observed["examples"] = [str(one) for one in shown[:5]]
    raised = result.exception_info or {}
    if not result.success and raised.get("raised_exception"):
        observed["error"] = str(raised.get("exception_message"))[:500]
    elif not result.success and not observed:
        observed["error"] = str(raised)[:500]
    return Finding(
        expectation=config.description or config.type,
        severity=str(severity),
        is_success=bool(result.success),
        observed=json.loads(json.dumps(observed, default=str)),
    )


def _keep(client: Client, audit: Audit) -> None:
    """Write the findings to ``quality_results``."""
    window = audit.window
    now = datetime.now(UTC)
    client.insert(
        "quality_results",
        [
            [
                audit.dataset,
                window.kind,
                window.start,
                window.end,
                found.expectation,
                found.severity,
                found.is_success,
                json.dumps(found.observed),
                audit.report,
                now,
            ]
            for found in audit.findings
        ],
        column_names=[
            *("dataset", "window_kind", "window_start", "window_end", "expectation"),
            *("severity", "is_success", "observed", "report", "checked_at"),
        ],
    )


def _publish(connection: Any, audit: Audit) -> None:
    """Write the verdict: exports, alerts and published marts wait for it."""
    reason = "; ".join(found.expectation for found in audit.failures)
    connection.execute(
        sql.render("postgres/quality/publish_window.sql"),
        {
            "dataset": audit.dataset,
            "start": audit.window.start,
            "end": audit.window.end,
            "status": "withheld" if audit.failures else "published",
            "reason": reason,
        },
    )


def demand(audits: list[Audit]) -> str:
    """Return the summary of audits. Raises ``QualityError`` with it when a window is withheld."""
    summary = "\n".join(audit.summary() for audit in audits) or "no closed window waits"
    if any(audit.failures for audit in audits):
        raise QualityError(f"withheld:\n{summary}")
    return summary
