"""``./millrace quality``: audits, targets and reports."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import NO

if TYPE_CHECKING:
    from millrace.quality.windows import Window

app = typer.Typer(help="Audits, quality metrics, reports.", no_args_is_help=True)


@app.command()
def audit(
    at: Annotated[
        datetime | None, typer.Option(help="A moment (UTC) in the window; else what waits.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", help="Audit a range again: its beginning (UTC).")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", help="Its end (UTC), with --from; else now.")
    ] = None,
    kind: Annotated[str, typer.Option(help="5m, 1h or 1d, with --at or --from.")] = "5m",
    dataset: Annotated[str, typer.Option(help="One dataset, with --at or --from; else all.")] = "",
) -> None:
    """Audit the closed windows that wait, or some again; fail where one is withheld.

    A range is audited newest first, and what is audited stays when it is cut short.
    """
    from datetime import UTC

    from millrace.quality import audit as auditing
    from millrace.quality.model import QualityError
    from millrace.quality.suites import load_suites
    from millrace.quality.windows import KINDS, window_at
    from millrace.settings import Settings

    datasets = {suite.dataset for suite in load_suites()}
    if dataset and dataset not in datasets:
        raise typer.BadParameter(
            f"is {dataset!r}, must be one of {', '.join(sorted(datasets))}", param_hint="dataset"
        )
    if kind not in KINDS:
        raise typer.BadParameter(
            f"is {kind!r}, must be one of {', '.join(KINDS)}", param_hint="kind"
        )
    if last is not None and first is None:
        raise typer.BadParameter("needs --from, too", param_hint="--to")
    if first is not None:
        if at is not None:
            raise typer.BadParameter("does not go with --at", param_hint="--from")
        windows = _closed(kind, first.replace(tzinfo=UTC), last and last.replace(tzinfo=UTC))
        audits = []
        settled = auditing.audit_range(Settings(), windows, dataset)
        for number, (window, made) in enumerate(settled, 1):
            withheld = sum(bool(one.failures) for one in made)
            said = f"{withheld} withheld" if withheld else "passed"
            typer.echo(f"{number} of {len(windows)}: {window.label}: {said}", err=True)
            audits += made
    elif at is None:
        audits = auditing.audit_closed(Settings())
    else:
        window = window_at(kind, at.replace(tzinfo=UTC))
        if window.end > datetime.now(UTC):
            raise typer.BadParameter(
                f"the window ends at {window.end:%Y-%m-%d %H:%M} UTC: it can be judged after that",
                param_hint="--at",
            )
        audits = auditing.audit_window(Settings(), window, dataset)
    try:
        typer.echo(auditing.demand(audits))
    except QualityError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(NO) from error


def _closed(kind: str, first: datetime, last: datetime | None) -> list[Window]:
    """Return the windows of a range that are over; refuse a range without any."""
    from datetime import UTC

    from millrace.quality.windows import windows_between

    now = datetime.now(UTC)
    found = windows_between(kind, first, min(last or now, now))
    over = [window for window in found if window.end <= now]
    if not over:
        raise typer.BadParameter(f"no window of {kind} in it is over", param_hint="--from, --to")
    return over


@app.command()
def metrics(as_json: listing.AsJson = False, as_yaml: listing.AsYaml = False) -> None:
    """Measure the closed hours that wait, and show the last day against the targets."""
    from millrace.quality import hours
    from millrace.settings import Settings
    from millrace.stores import clickhouse, sql

    settings = Settings()
    hours.judge_closed(settings)
    with clickhouse.connect(settings, "quality") as client:
        answer = client.query(sql.render("clickhouse/quality/front_metrics.sql"))
        rows = list(answer.named_results())
    if not (as_json or as_yaml):
        rows = [
            {
                "source": row["source_id"],
                "metric": row["metric"],
                "hour": f"{row['hour']:%Y-%m-%d %H:%M}",
                "value": f"{row['value']:.4%}",
                "target": f"{row['target']:.2%}",
                "worst_in_7_days": f"{row['worst']:.4%}",
            }
            for row in rows
        ]
    listing.show(rows, as_json=as_json, as_yaml=as_yaml)


@app.command()
def report() -> None:
    """Bring the front page up to date and say where it is."""
    from millrace.quality import docs
    from millrace.settings import Settings
    from millrace.stores import clickhouse, postgres

    settings = Settings()
    with (
        clickhouse.connect(settings, "quality") as client,
        postgres.connect(settings) as connection,
    ):
        front, _ = docs.write_overview(settings, client, connection)
    typer.echo(f"{docs.link(settings, front.name)}\n{front}")
