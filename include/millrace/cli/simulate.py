"""``./millrace simulate``: send realistic traffic with every kind of fault."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.errors import fail

if TYPE_CHECKING:
    from millrace.lab.simulate import send
    from millrace.settings import Settings


def simulate(
    rate: Annotated[float, typer.Option(help="Messages a second; 0: as fast as possible.")] = 1000,
    duration: Annotated[float, typer.Option(help="Seconds.")] = 30,
    events: Annotated[int, typer.Option(help="Messages in all; 0: rate x duration.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same people and faults.")] = 1,
    to: Annotated[
        str,
        typer.Option(
            help="'kafka', 'api' or 'grpc' (sound events only), or a file to write instead."
        ),
    ] = "kafka",
    topic: Annotated[str, typer.Option(help="Topic; default MILLRACE_EVENTS_TOPIC.")] = "",
    url: Annotated[
        str, typer.Option(help="With --to api or grpc: where it is; default this stack's.")
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            envvar="INGEST_KEY", help="With --to api or grpc: the key; default this stack's own."
        ),
    ] = "",
    start: Annotated[
        datetime | None,
        typer.Option(help="UTC time of the first event; events spread over --duration from there."),
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND=RATE, share of all messages; may be repeated.")
    ] = None,
    default_faults: Annotated[
        bool, typer.Option("--faults/--no-faults", help="Send every fault kind at its usual rate.")
    ] = True,
    manifest: Annotated[
        Path | None, typer.Option(help="Where the manifest goes; default $MILLRACE_HOME/manifests.")
    ] = None,
) -> None:
    """Send product traffic with real-life faults, and write a manifest of what was sent.

    People come in sessions, pages follow Zipf's law, countries wake and sleep. Everything follows
    from the seed and the time of the start, so a run with the same --seed and --start sends the
    same events again. Check the warehouse afterwards with `./millrace verify MANIFEST`.

    With --to api or grpc a request without an answer is sent again until it is acknowledged, as
    an SDK does, and the manifest says which events were.

    Ctrl-C ends the run early: its manifest then tells what was sent until then.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from millrace.lab.simulate import faults, send
    from millrace.lab.simulate.manifest import Tally
    from millrace.settings import Settings

    settings = Settings()
    console = Console(stderr=True)
    try:
        changes = _shares(fault or [])
        plan = send.Plan(
            seed=seed,
            rates=faults.rates(changes, with_defaults=default_faults),
            rate=rate,
            duration=duration,
            total=events,
            start=start.replace(tzinfo=UTC) if start else None,
        )
        plan.check(settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error

    if to in ("api", "grpc"):
        _to_api(to, plan, settings, url, key, manifest)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("connecting", total=plan.messages or None)

        def show(tally: Tally) -> None:
            progress.update(
                task, completed=tally.acknowledged, description=f"{tally.acknowledged:,} sent"
            )

        try:
            sent = send.run(
                plan,
                settings,
                topic=topic or settings.events_topic,
                file=None if to == "kafka" else Path(to),
                on_progress=show,
            )
        except OSError as error:
            raise fail(f"can't write {to}: {error}") from error
    path = manifest or settings.home / "manifests" / f"{sent.run_id}.json"
    sent.write(path)

    seconds = (
        datetime.fromisoformat(sent.finished_at) - datetime.fromisoformat(sent.started_at)
    ).total_seconds()
    console.print(
        f"{sent.sent:,} messages ({sent.bytes_sent / 1e6:,.1f} MB) in {seconds:.1f} s: "
        f"{sent.sent / max(seconds, 1e-3):,.0f}/s; {sent.accepted:,} to be accepted"
    )
    for reason, count in sent.rejected.items():
        console.print(f"  {count:>8,} {reason}")
    if sent.unconfirmed:
        console.print(
            f"[red]{sent.unconfirmed:,} messages were never confirmed by the broker; "
            "the manifest is not exact"
        )
    typer.echo(path)


def _to_api(
    to: str, plan: send.Plan, settings: Settings, url: str, key: str, manifest: Path | None
) -> None:
    from millrace.lab.simulate import api, ways

    key = key or settings.ingest_key.get_secret_value()
    if not key:
        raise typer.BadParameter(
            "give one, or set MILLRACE_INGEST_KEY: ./millrace keys add NAME", param_hint="--key"
        )
    place = url or settings.api_url("ingestion")
    way: Callable[[str, str], ways.Way] = ways.Http
    if to == "grpc":
        place = url or settings.ingestion_grpc_address
        way = ways.Grpc
    try:
        taken = api.run(plan, settings, url=place, key=key, way=way)
    except ways.RefusedError as error:
        raise fail(f"{place} refuses the events: {error}") from error
    path = manifest or settings.home / "manifests" / f"{taken.run_id}.json"
    taken.write(path)
    typer.echo(
        f"{taken.sent:,} events acknowledged, {taken.repeated:,} requests sent again, "
        f"{taken.unconfirmed:,} events unconfirmed",
        err=True,
    )
    typer.echo(path)


def _shares(faults: list[str]) -> dict[str, float]:
    """Read KIND=RATE. Raises ``ValueError`` naming what is none."""
    shares = {}
    for text in faults:
        kind, _, share = text.partition("=")
        try:
            shares[kind] = float(share)
        except ValueError:
            raise ValueError(f"--fault {text!r}: write KIND=RATE, such as late=0.01") from None
    return shares
