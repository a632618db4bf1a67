"""Audit closed windows with Great Expectations, then publish or withhold them.

Every expectation runs as a query in ClickHouse over a view of the window. The view is a table to
Great Expectations on purpose: given a query, it reads the whole result to learn the columns.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from clickhouse_connect.driver.client import Client
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from millrace.quality import cursors, docs, pending, publication, withdrawn
from millrace.quality.model import Audit, Finding, QualityError
from millrace.quality.suites import Suite, build, faults, load_suites
from millrace.quality.windows import KINDS, Window
from millrace.settings import Settings
from millrace.stores import clickhouse, errors, postgres, sql

log = logging.getLogger(__name__)

WITHDRAWN = ("Ingest fills this table.", "Ingest no longer fills this table.")
"""What is so of a rollup, and what while one of its views is taken out of the path of ingest."""

UNDERSTOOD = "What is expected of this dataset can be checked."
"""What could not be done where a suite names an unknown expectation, or a window can't be read."""

EPOCH = datetime.fromtimestamp(0, UTC)


def warehouse_dsn(settings: Settings) -> str:
    """Return the warehouse's address for the ``clickhouse+http`` dialect, password filled in."""
    url = urlsplit(settings.clickhouse_url)
    user, password = clickhouse.credentials(settings, "quality")
    secret = f":{quote(password, safe='')}" if password else ""
    place = f"{quote(user, safe='')}{secret}@{url.hostname}:{url.port or 8123}"
    path = f"/{clickhouse.database(settings)}"
    query = "protocol=https" if url.scheme == "https" else ""
    return urlunsplit(("clickhouse+http", place, path, query, ""))


def audit_closed(settings: Settings, now: datetime | None = None) -> list[Audit]:
    """Audit every closed window that waits: those without an audit, and those that changed since.

    Results go to ``quality_results``, verdicts to ``published_windows``, reports to the Data Docs.
    Each window is settled when it is audited, so that a run that is cut short loses none. Raises
    what the stores raise.
    """
    moment = now or datetime.now(UTC)
    with clickhouse.connect(settings, "quality") as client:
        suites = pending.existing(settings, client, load_suites())
        with postgres.connect(settings) as connection:
            waiting = [pending.find(client, connection, suites, kind, moment) for kind in KINDS]
        audits = []
        for one in waiting:
            audits += run(settings, one.pairs, covers_until=one.covers_until)
            if one.is_all:
                cursors.record(client, one.kind, one.covers_until)
    return audits


def audit_window(settings: Settings, window: Window, dataset: str = "") -> list[Audit]:
    """Audit one window again, of one dataset or of all that have windows of its kind."""
    with clickhouse.connect(settings, "quality") as client:
        suites = pending.existing(settings, client, load_suites())
    chosen = [s for s in suites if window.kind in s.windows and dataset in ("", s.dataset)]
    return run(settings, [(suite, window) for suite in sorted(chosen, key=pending.order)])


def audit_range(
    settings: Settings, windows: list[Window], dataset: str = ""
) -> Iterator[tuple[Window, list[Audit]]]:
    """Audit windows again, the newest first, and yield each when it is settled.

    What is settled stays, however the range ends; asked again for the rest, it goes on there.
    """
    for window in sorted(windows, reverse=True):
        yield window, audit_window(settings, window, dataset)


def run(
    settings: Settings, pairs: list[tuple[Suite, Window]], *, covers_until: datetime = EPOCH
) -> list[Audit]:
    """Audit the given windows, publish or withhold them, and bring the reports up to date.

    ``covers_until`` says up to when late events are covered by these audits; without it they are
    looked for from where the audits before left off.
    """
    audits: list[Audit] = []
    suites = {suite.dataset: suite for suite, _ in pairs}
    readable = {suite.dataset for suite in load_suites()}
    with (
        clickhouse.connect(settings, "quality") as client,
        postgres.connect(settings) as connection,
    ):
        lacking = withdrawn.reasons(client, connection)
        try:
            checkpoints = _Checkpoints(settings, client) if pairs else None
            for window, group in groupby(pairs, key=lambda pair: pair[1]):
                assert checkpoints is not None  # noqa: S101  there are pairs
                made = checkpoints.run(window, [suite for suite, _ in group])
                for audit in made:
                    if (reason := lacking.get(suites[audit.dataset].table)) is not None:
                        audit.findings.append(_not_filled(reason))
                    suite = suites[audit.dataset]
                    if suite.publishes:
                        unread = set(suite.made_from) - readable
                        publication.publish(connection, suite, audit, sorted(unread))
                _show_reports(settings, made)
                _keep(client, made, covers_until)
                audits += made
                log.info("%s: %s datasets audited", window.label, len(made))
        finally:  # whatever cut it short, what is settled is shown
            publication.release(connection, load_suites())
            publication.show(settings, client, [*suites.values(), *_unseen(settings, client)])
            docs.upload(settings, docs.write_overview(settings, client, connection))
            docs.forget_old(settings)
    return audits


def _unseen(settings: Settings, client: Client) -> list[Suite]:
    """Return the suites that others can't read yet: they may, and find nothing, before an audit."""
    there = pending.tables(settings, client)
    return [
        suite
        for suite in load_suites()
        if suite.publishes
        and (suite.is_derived or suite.table in there)
        and f"{publication.DATABASE}.{suite.dataset}" not in there
    ]


def _show_reports(settings: Settings, audits: list[Audit]) -> None:
    """Write reports, and copy them to object storage; without it, verdicts stand all the same."""
    pages = [docs.write_report(settings, audit) for audit in audits]
    try:
        docs.upload(settings, pages)
    except (MinioException, HTTPError) as error:
        log.warning("reports are not in object storage yet: %s", errors.first_line(error))


class _Checkpoints:
    """Runs Great Expectations: a checkpoint per window, with a validation per dataset."""

    def __init__(self, settings: Settings, client: Client) -> None:
        # Read when the library is imported: it must not phone home.
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        import great_expectations as gx

        # It tells at length, for each expectation, what it does not know; verdicts would drown.
        # The second has a level of its own.
        for name in ("great_expectations", "great_expectations.data_context.types.base"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.settings, self.client = settings, client
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = {"globally": False}
        self.source = self.context.data_sources.add_sql(
            "warehouse", connection_string=warehouse_dsn(settings)
        )

    def run(self, window: Window, suites: list[Suite]) -> list[Audit]:
        """Audit a window of some datasets; one that can't be audited fails alone."""
        validations, found = {}, {}
        for suite in suites:
            try:
                validations[suite.dataset] = _validation(
                    self.context, self.source, self.client, suite, window
                )
            except Exception as error:  # noqa: BLE001  whatever the library makes of a suite
                found[suite.dataset] = [self._not_run(error)]
        found |= self._findings(window.name, validations)
        checked_at = datetime.now(UTC)
        audits = []
        for suite in suites:
            report = docs.page_of(suite.dataset, window, checked_at)
            link = docs.link(self.settings, report)
            findings = found[suite.dataset]
            audits.append(Audit(suite.dataset, window, report, link, checked_at, findings))
        return audits

    def _findings(self, name: str, validations: dict[str, Any]) -> dict[str, list[Finding]]:
        """Return what is found by dataset; where that fails as a whole, of each alone."""
        import great_expectations as gx

        if not validations:
            return {}
        checkpoint = gx.Checkpoint(
            name=name, validation_definitions=[*validations.values()], result_format="SUMMARY"
        )
        try:
            outcome = self.context.checkpoints.add(checkpoint).run()
            results = {result.suite_name: result for result in outcome.run_results.values()}
            return {
                dataset: [_finding(one) for one in results[validation.suite.name].results]
                for dataset, validation in validations.items()
            }
        except Exception as error:  # noqa: BLE001  one value that the library can't show is enough
            not_run = self._not_run(error)
        if len(validations) == 1:
            return {dataset: [not_run] for dataset in validations}
        found: dict[str, list[Finding]] = {}
        for dataset, validation in validations.items():
            found |= self._findings(f"{name}-{dataset}", {dataset: validation})
        return found

    def _not_run(self, error: Exception) -> Finding:
        """Return that nothing could be found; raises if that is for want of the server."""
        self.client.command("SELECT 1")
        observed = {"error": errors.first_line(error)}
        return Finding(UNDERSTOOD, "", "critical", is_success=False, observed=observed)


def _not_filled(reason: str) -> Finding:
    examples = [{"reason": reason}]
    return Finding(*WITHDRAWN, "critical", is_success=False, observed={}, examples=examples)


def _label(suite: Suite, window: Window) -> str:
    return f"{suite.dataset}_{window.name}"


def _validation(context: Any, source: Any, client: Client, suite: Suite, window: Window) -> Any:
    """Return the validation of a suite on the view of a window, which it creates."""
    import great_expectations as gx

    view = f"audited_{suite.dataset}_{window.kind}"
    client.command(
        sql.render(
            "clickhouse/quality/audited_view.sql",
            view=view,
            relation=suite.relation_in(str(client.database)),
            condition=suite.condition(window),
        )
    )
    label = _label(suite, window)
    asset = source.add_table_asset(label, table_name=view)
    expected = gx.ExpectationSuite(name=label, expectations=build(suite, window))
    return context.validation_definitions.add(
        gx.ValidationDefinition(
            name=label,
            data=asset.add_batch_definition_whole_table("window"),
            suite=context.suites.add(expected),
        )
    )


def _finding(result: Any) -> Finding:
    config = result.expectation_config
    severity = getattr(config.severity, "value", config.severity) or "critical"
    wanted = ("observed_value", "unexpected_count", "element_count", "unexpected_percent")
    observed = {k: result.result[k] for k in wanted if result.result.get(k) is not None}
    examples = [] if result.success else result.result.get("details", {}).get("unexpected_rows", [])
    if not result.success and result.result.get("partial_unexpected_list"):
        examples = _examples(config.kwargs, result.result["partial_unexpected_list"])
    if not result.success and not examples and _error(result.exception_info):
        observed["error"] = _error(result.exception_info)
    arguments = {k: v for k, v in config.kwargs.items() if k not in ("batch_id", "severity")}
    query = arguments.pop("unexpected_rows_query", "")
    if query or config.type == "expect_table_row_count_to_be_between":
        observed["unit"] = "case" if query else "row"
    listed = ", ".join(f"{key} = {value!r}" for key, value in arguments.items())
    return Finding(
        expectation=config.description,
        otherwise=config.meta["otherwise"],
        severity=str(severity),
        is_success=bool(result.success),
        observed=_plain(observed),
        check=query or f"{config.type}({listed})",
        examples=_plain(examples),
    )


def _examples(arguments: dict[str, Any], unexpected: list[Any]) -> list[dict[str, str]]:
    """Return values that are not expected, each once, by the columns that they are of."""
    pair = [arguments.get("column_A"), arguments.get("column_B")]
    columns = arguments.get("column_list") or (pair if all(pair) else [arguments.get("column")])
    found: list[dict[str, str]] = []
    for value in unexpected:
        if isinstance(value, dict):
            shown = {str(column): str(one) for column, one in value.items()}
        elif len(columns) > 1 and isinstance(value, (list, tuple)):
            shown = {str(c): str(one) for c, one in zip(columns, value, strict=False)}
        else:
            shown = {str(columns[0] or "value"): str(value)}
        if shown not in found:
            found.append(shown)
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(json.dumps(value, default=str))


def _error(raised: dict[str, Any] | None) -> str:
    """Return the message of an expectation that could not be run; empty if it could."""
    if not raised:
        return ""
    each = [raised] if "exception_message" in raised else raised.values()
    said = [str(one["exception_message"] or "").removeprefix("Orig exception: ") for one in each]
    return "; ".join(dict.fromkeys(said))[:500]


def _keep(client: Client, audits: list[Audit], covers_until: datetime) -> None:
    """Write the findings to ``quality_results``, and last that the windows are audited."""
    if not audits:
        return

    def window(audit: Audit) -> list[Any]:
        return [audit.dataset, audit.window.kind, audit.window.start, audit.window.end]

    columns = ["dataset", "window_kind", "window_start", "window_end"]
    client.insert(
        "quality_results",
        [
            [
                *window(audit),
                found.expectation,
                found.statement,
                found.severity,
                found.is_success,
                found.is_checked,
                json.dumps(found.observed | {"examples": found.examples[:5]}),
                audit.report,
                audit.checked_at,
            ]
            for audit in audits
            for found in audit.findings
        ],
        column_names=[
            *columns,
            *("expectation", "statement", "severity", "is_success", "is_checked"),
            *("observed", "report", "checked_at"),
        ],
    )
    client.insert(
        "quality_audits",
        [
            [
                *window(audit),
                len(audit.failures),
                len(audit.warnings),
                len(audit.unchecked),
                audit.report,
                covers_until,
                audit.checked_at,
            ]
            for audit in audits
        ],
        column_names=[
            *columns,
            *("failures", "warnings", "unchecked", "report", "covers_until", "checked_at"),
        ],
    )


def demand(audits: list[Audit]) -> str:
    """Return the summary of audits.

    Raises ``QualityError`` with it when a window is withheld, or a suite can't be read.
    """
    withheld = [audit for audit in audits if audit.failures]
    unread = [f"NOT JUDGED: {fault}" for fault in faults()]
    warned = [audit for audit in audits if audit.warnings and not audit.failures]
    passed = len(audits) - len(withheld) - len(warned)
    lines = [audit.summary() for audit in [*withheld, *warned]]
    windows = "1 window" if passed == 1 else f"{passed} windows"
    lines.append(f"{passed} more passed" if lines else f"{windows} passed")
    if withheld or unread:
        count = len(withheld)
        head = f"{count} window{'s' if count != 1 else ''} withheld"
        raise QualityError("\n".join([head, *unread, *lines]))
    return "\n".join(lines)
