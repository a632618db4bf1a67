"""``./millrace sql``: ask ClickHouse, or the ledger in PostgreSQL."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.errors import ERROR, fail

if TYPE_CHECKING:
    from millrace.settings import Settings
    from millrace.stores.console import Console

TERMINAL_FORMAT = "PrettyCompactMonoBlock"
PIPED_FORMAT = "TabSeparated"
_TABLES = "SHOW TABLES FROM analytics lists the marts; --as operator sees every table."
_LESS = "Ask for less, such as a shorter range; docs/clickhouse-access.md has the limits."
NEXT = {
    "UNKNOWN_TABLE": _TABLES,
    "UNKNOWN_DATABASE": "SHOW DATABASES lists those that this account may see.",
    "UNKNOWN_IDENTIFIER": "DESCRIBE TABLE and a table's name list its columns.",
    "ACCESS_DENIED": "docs/clickhouse-access.md says what each account may; --as names another.",
    "AUTHENTICATION_FAILED": "./millrace migrate gives accounts the passwords that are set.",
    "TOO_MANY_SIMULTANEOUS_QUERIES": "Try again when one of those that run has ended.",
    "MEMORY_LIMIT_EXCEEDED": _LESS,
    "TIMEOUT_EXCEEDED": _LESS,
    "TOO_MANY_ROWS": _LESS,
    "TOO_MANY_ROWS_OR_BYTES": _LESS,
}
"""What to do about an error, by ClickHouse's name of it."""


def sql(
    statement: Annotated[
        str, typer.Argument(help="One statement; else stdin's, or a prompt on a terminal.")
    ] = "",
    account: Annotated[
        str, typer.Option("--as", help="ClickHouse account, as docs/clickhouse-access.md has them.")
    ] = "reader",
    form: Annotated[
        str,
        typer.Option("--format", help="A format of ClickHouse's, such as CSVWithNames or JSON."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a row.")] = False,
    on_postgres: Annotated[
        bool, typer.Option("--postgres", help="Ask PostgreSQL, read only, in place of ClickHouse.")
    ] = False,
) -> None:
    """Ask ClickHouse as `reader`, who sees `analytics` and `published`, or as another account.

    `--as operator` sees every table, and changes none. On a terminal the answer is a table, piped
    it is tab-separated without names. Without a statement it prompts: a statement ends with `;`,
    and Ctrl-D ends the session.
    """
    from millrace.settings import Settings

    settings = Settings()
    if on_postgres:
        if form:
            raise typer.BadParameter(
                "is ClickHouse's; with --postgres use --json", param_hint="--format"
            )
        _ask_postgres(settings, statement or sys.stdin.read(), as_json=as_json)
        return
    is_terminal = sys.stdout.isatty()
    layout = form or (
        "JSONEachRow" if as_json else TERMINAL_FORMAT if is_terminal else PIPED_FORMAT
    )
    console = _console(settings, account, layout, is_terminal=is_terminal)
    try:
        if statement or not sys.stdin.isatty():
            _answer(console, statement or sys.stdin.read())
        else:
            _prompt(console, account)
    finally:
        console.close()


def _console(settings: Settings, account: str, layout: str, *, is_terminal: bool) -> Console:
    from millrace.stores import accounts, clickhouse
    from millrace.stores.console import Console

    known = {one.name: one for one in accounts.read().accounts}
    if account not in known:
        raise typer.BadParameter(f"choose from {', '.join(known)}", param_hint="--as")
    one = known[account]
    if not one.is_owner and clickhouse.credentials(settings, account)[0] != account:
        raise fail(
            f"{clickhouse.password_variable(one)} is not set, so nobody can ask as {account}. "
            "Set it, or let ./millrace up make a stack."
        )
    return Console(settings, one, layout, is_terminal=is_terminal)


def _answer(console: Console, statement: str) -> None:
    from millrace.stores.console import StatementError

    if not statement.strip():
        raise typer.BadParameter("give a statement", param_hint="STATEMENT")
    try:
        with console.ask(statement) as pieces:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except StatementError as error:
        hint = NEXT.get(error.name)
        raise fail(f"{error}\n  {hint}" if hint else error) from None


def _prompt(console: Console, account: str) -> None:
    """Ask for statements until there are no more; an error ends none but its own."""
    import readline  # noqa: F401 - lines are edited, and come back with the arrow keys

    typer.echo(f"As {account}. A statement ends with ';'; Ctrl-D ends the session.")
    lines: list[str] = []
    while True:
        try:
            line = input("... " if lines else f"{account}> ")
        except KeyboardInterrupt:
            lines = []
            typer.echo()
            continue
        except EOFError:
            typer.echo()
            return
        if not lines and line.strip().rstrip(";") in {"exit", "quit"}:
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            _time(console, "\n".join(lines))
            lines = []


def _time(console: Console, statement: str) -> None:
    began = time.monotonic()
    try:
        _answer(console, statement)
    except typer.Exit as ended:
        if ended.exit_code != ERROR:
            raise
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    else:
        typer.echo(f"{time.monotonic() - began:.3f} s")


def _ask_postgres(settings: Settings, statement: str, *, as_json: bool) -> None:
    from psycopg import Error
    from pydantic_core import to_jsonable_python

    from millrace.cli import listing
    from millrace.stores import postgres

    read_only = "-c default_transaction_read_only=on"
    with postgres.connect(settings, options=read_only) as connection:
        try:
            rows = connection.execute(statement.encode()).fetchall()
        except Error as error:
            raise fail(f"PostgreSQL said: {str(error).strip()}") from None
    if not as_json:
        listing.show(rows)
        return
    for row in rows:
        typer.echo(json.dumps(to_jsonable_python(row), ensure_ascii=False))
