"""``./millrace quality``: audits, targets and reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import NO

app = typer.Typer(help="Audits, quality metrics, reports.", no_args_is_help=True)


@app.command()
def audit(
    at: Annotated[
        datetime | None, typer.Option(help="A moment (UTC) in the window; else what waits.")
    ] = None,
    kind: Annotated[str, typer.Option(help="5m, 1h or 1d, with --at.")] = "5m",
    dataset: Annotated[str, typer.Option(help="One dataset, with --at; else all.")] = "",
) -> None:
    """Audit the closed windows that wait, or one window again; fail where one is withheld."""
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
    if at is None:
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
