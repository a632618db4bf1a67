"""``./millrace chaos``: strike a stack under load, and prove that it held."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.errors import NO, fail

if TYPE_CHECKING:
    from rich.console import Console


def chaos(
    faults: Annotated[int, typer.Option(help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Fixes their order and the traffic.")] = 1,
    rate: Annotated[float, typer.Option(help="Messages a second meanwhile.")] = 2000,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this kind of fault; may be repeated.")
    ] = None,
    airflow: Annotated[
        bool, typer.Option("--airflow", help="On a whole stack; strikes Airflow and its tasks too.")
    ] = False,
    api: Annotated[
        bool, typer.Option("--api", help="Send through the ingestion API, and strike that.")
    ] = False,
    operations: Annotated[
        int, typer.Option(help="Sequences of operations instead; each on a stack of its own.")
    ] = 0,
    port_base: Annotated[
        int, typer.Option(help="First port of the stack that is struck; sequences take free ones.")
    ] = 27000,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Result as JSON; default $MILLRACE_HOME/chaos/SEED.json, or operations-SEED.json."
        ),
    ] = None,
) -> None:
    """Kill, pause, cut and set back a stack of its own under load; then verify it.

    Nothing of your own stack is touched: it starts another in a temporary folder. Exits with 1 if
    anything was lost, repeated or is unexplained; the folder with every log is kept then.
    """
    import os
    import shutil
    import signal
    import tempfile

    from rich.console import Console

    from millrace import steps
    from millrace.lab.chaos import api as api_campaign
    from millrace.lab.chaos import campaign
    from millrace.settings import default_home, of_checkout
    from millrace.stack.stack import Stack
    from millrace.usecases import up

    of_checkout("dags")
    console = Console(highlight=False)
    if api and airflow:
        raise typer.BadParameter("a campaign against the API has no Airflow", param_hint="--api")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # take the servers down then, too
    name = f"operations-{seed}" if operations else str(seed)
    path = output or default_home() / "chaos" / f"{name}.json"
    if operations:
        _operations(console, operations, seed, path)
        return
    home = Path(tempfile.mkdtemp(prefix="millrace-chaos-"))
    home.chmod(0o755)  # PostgreSQL runs as a user of its own
    environment = campaign.AIRFLOW_ENVIRONMENT if airflow else campaign.ENVIRONMENT
    if api:
        environment = api_campaign.API_ENVIRONMENT
    os.environ.update(
        environment | {"MILLRACE_HOME": str(home), "MILLRACE_PORT_BASE": str(port_base)}
    )
    stack = Stack(with_airflow=airflow, with_apis=airflow or api)

    def tell(number: int, injection: campaign.Injection) -> None:
        console.print(
            f"{number:>4}/{faults} {injection.at:7.1f} s  {injection.kind:<20} {injection.detail}",
            soft_wrap=True,
            markup=False,
        )

    try:
        steps.run(up.steps(stack))
        strike = api_campaign.run if api else campaign.run
        outcome = strike(stack, count=faults, seed=seed, rate=rate, only=only, on_fault=tell)
    except campaign.UnknownFaultError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    except (RuntimeError, TimeoutError) as error:
        raise fail(f"the campaign broke off: {error}; its data and logs are in {home}") from error
    finally:
        stack.shutdown()
    for report in outcome.reports:
        report.print(console)
    _write(path, outcome.as_dict())
    console.print(
        f"{len(outcome.injections)} faults, {outcome.messages:,} messages, "
        f"{outcome.seconds:.0f} s: {outcome.differences} differences; {path}"
    )
    if outcome.differences:
        console.print(f"the stack's data and logs are in {home}", markup=False)
        raise typer.Exit(NO)
    shutil.rmtree(home)


def _write(path: Path, outcome: dict[str, object]) -> None:
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcome, indent=1) + "\n")


def _operations(console: Console, count: int, seed: int, path: Path) -> None:
    from millrace.lab.operations import sequences

    tell = partial(console.print, soft_wrap=True, markup=False)
    done = sequences.run(count, seed, tell)
    _write(path, vars(done))
    console.print(f"{done.sequences} sequences, {done.operations} operations; {path}")
    if done.said:
        tell("\n".join(["After", *done.typed, "this does not hold", done.said]))
        raise typer.Exit(NO)
    console.print("every promise held")
