"""The embedded stack: up, down, status, logs, reset, and the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli import listing
from millrace.cli.errors import NO, fail
from millrace.contract.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from millrace.stack.stack import Stack


def register(app: typer.Typer) -> None:
    """Add this group's commands to the application."""
    for command in (up, migrate, down, status, logs, reset):
        app.command()(command)
    passes_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("test", context_settings=passes_on)(run_tests)


def up() -> None:
    """Set up and run everything: servers, schemas, Airflow, and traffic to look at."""
    from rich.text import Text

    from millrace import steps as work
    from millrace.cli import progress, summary
    from millrace.lab import first_look
    from millrace.stack import checks
    from millrace.usecases import up as bring_up
    from millrace.usecases.first_backup import FirstBackup

    console = _console()
    with progress.interruptible(console):
        stack = _stack()
        with stack.alone():
            checks.check_machine(stack)
            with progress.steps(console) as report:
                look = first_look.FirstLook(stack)
                backup = FirstBackup(stack.settings)
                plan = [*bring_up.steps(stack), *bring_up.first_backup(stack, backup)]
                work.run([*plan, *first_look.steps(look)], report)
        summary.show(look, console)
        for note in stack.notes:
            console.print(Text(f"\n{visible(note)}", "yellow"))
        if backup.was_taken:
            console.print(
                "\nA first backup was taken. Backups are encrypted with MILLRACE_BACKUP_KEY, in "
                f"{stack.settings.home}/secrets.env: keep a copy of it elsewhere, since without it "
                "no backup can be read.",
                markup=False,
            )


def migrate() -> None:
    """Bring the configured servers' topics, buckets, schemas, rules and models up to date."""
    from millrace import steps as work
    from millrace.cli import progress
    from millrace.settings import Settings
    from millrace.usecases import prepare

    console = _console()
    with progress.interruptible(console), progress.steps(console) as report:
        settings = Settings()
        work.run([*prepare.steps(settings), prepare.models(settings)], report)


def down() -> None:
    """Stop every server of this stack; the data stays."""
    console = _console()
    stack = existing_stack()
    with stack.alone():
        was_running = stack.supervisor.is_running()
        left = stack.shutdown()
    if left:
        console.print(f"Ended what no supervisor looked after: {', '.join(left)}.")
    elif not was_running:
        console.print("Nothing was running.")
    said = f"Stopped. The data is in {stack.settings.home}; ./millrace up starts again."
    console.print(said, markup=False)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with addresses.")] = False,
    as_yaml: listing.AsYaml = False,
    slow: Annotated[
        bool, typer.Option("--slow", help="What cost ClickHouse the most in the last hour.")
    ] = False,
) -> None:
    """Show each server: process, port, health and memory; and what a deployment left over.

    Exits with 1 if a server is not healthy, or anything is left.
    """
    from rich.text import Text

    from millrace.stack import costs, report

    console = _console()
    stack = existing_stack()
    if slow:
        if not console.is_terminal:
            console.width = costs.WHOLE  # whoever pipes it wants it whole
        for table in costs.tables(stack.settings):
            console.print(table)
        return
    rows = report.observe(stack)
    if as_json or as_yaml:
        listing.document(report.document(rows), as_yaml=as_yaml)
    else:
        console.print(report.table(rows))
        if any(row.name == "clickhouse" and row.is_healthy for row in rows):
            for warning in report.warnings(stack.settings):
                console.print(f"\n[yellow]{warning}")
    left = report.leftovers(stack, rows)
    if not (as_json or as_yaml):
        for what in left:
            console.print(Text(f"\n{visible(what)}", "red"))
    if left or not all(row.is_healthy for row in rows):
        raise typer.Exit(NO)


def logs(
    name: Annotated[str, typer.Argument(help="A server, as ./millrace status names it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines arrive.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 100,
) -> None:
    """Show a server's log."""
    stack = existing_stack()
    path = stack.log(name)
    if name not in [*stack.servers, "supervisord"]:
        raise typer.BadParameter(f"choose from {', '.join([*stack.servers, 'supervisord'])}")
    if not path.exists():
        raise fail(f"{name} has not written a log yet; start it with ./millrace up")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)])


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the stack and delete all of its data, secrets and logs."""
    import shutil

    from millrace.settings import REPOSITORY

    console = _console()
    stack = existing_stack()
    home = stack.settings.home
    for kept in (REPOSITORY, Path.home()):
        if kept.is_relative_to(home):
            raise fail(f"{home} (MILLRACE_HOME) holds {kept}, which is more than a stack's data")
    if not yes:
        typer.confirm(f"Delete every event, setting and log in {home}?", abort=True)
    with stack.alone():
        stack.shutdown()
        shutil.rmtree(home)
    console.print(f"Deleted {home}.", markup=False)


def run_tests(
    context: typer.Context,
    unit: Annotated[
        bool, typer.Option("--unit", help="Only those that need no server; in half a minute.")
    ] = False,
) -> None:
    """Run the tests on a stack of their own; further arguments go to pytest.

    `./millrace test tests/unit -k waiting` runs some; `./millrace test -- --help` is pytest's own
    help. `./millrace test -n 2 --dist loadfile` shares them out between two processes.
    """
    from millrace.settings import of_checkout

    checkout = of_checkout("tests").parent
    arguments = context.args
    if unit:
        are_named = any(one.startswith("tests/") for one in arguments)
        places = [] if are_named else ["tests/unit"]
        quick = ["--quiet", "-m", "not slow", "--hypothesis-profile", "quick"]
        together = [] if arguments else ["-n", "2"]  # arguments may want one process, as --pdb does
        arguments = [*places, *quick, *together, *arguments]
    else:
        from millrace.stack.kafka import ensure_jars

        ensure_jars()
    os.chdir(checkout)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def _stack() -> Stack:
    from millrace.settings import of_checkout
    from millrace.stack.stack import Stack

    of_checkout("dags")
    return Stack()


def existing_stack() -> Stack:
    """Return the stack that is there. Raises ``StackError`` where none is."""
    from millrace.settings import default_home, of_checkout
    from millrace.stack.server import StackError

    of_checkout("dags")  # before anything is said of a stack
    if not (home := default_home()).exists():
        raise StackError(f"there is no stack in {home} yet. ./millrace up makes one.")
    return _stack()
