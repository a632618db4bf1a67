"""``./millrace sql``, ``send`` and what they ask about: done, said, or refused in a sentence."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import uuid

import pytest
from typer.testing import CliRunner, Result

from millrace import waiting
from millrace.cli.main import app
from millrace.settings import Settings
from millrace.stores import accounts, clickhouse, postgres
from millrace.stores.console import Console, StatementError
from millrace.usecases import prepare


def typed(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def said(*arguments: str, stdin: str | None = None) -> str:
    done = typed(*arguments, stdin=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str, stdin: str | None = None) -> str:
    done = typed(*arguments, stdin=stdin)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    return " ".join(done.stderr.split())


@pytest.fixture(autouse=True)
def _there(settings: Settings) -> None:
    """The stack is there, which the commands find by the environment; and the marts' database."""
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE IF NOT EXISTS analytics")


def test_an_answer_is_laid_out_as_asked() -> None:
    query = "SELECT 1 AS a, 'x' AS b"
    assert said("sql", query) == "1\tx\n"
    assert said("sql", query + ";") == "1\tx\n"
    assert said("sql", "--format", "CSVWithNames", query) == '"a","b"\n1,"x"\n'
    assert json.loads(said("sql", "--json", query)) == {"a": 1, "b": "x"}
    assert said("sql", query + " FORMAT CSV") == '1,"x"\n'
    assert said("sql", stdin=query) == "1\tx\n"


@pytest.mark.parametrize(
    ("account", "user", "database"),
    [
        ("reader", "reader", "analytics"),
        ("operator", "operator", "millrace"),
        ("millrace", "millrace", "millrace"),
    ],
)
def test_each_account_asks_as_itself_in_its_database(
    account: str, user: str, database: str
) -> None:
    query = "SELECT currentUser(), currentDatabase()"
    assert said("sql", "--as", account, query) == f"{user}\t{database}\n"


def test_what_can_not_be_asked_is_told() -> None:
    assert "Syntax error" in refused("sql", "SELEC 1")
    assert "Not enough privileges" in refused("sql", "SELECT * FROM millrace.events")
    assert "Not enough privileges" in refused("sql", "--as", "operator", "DROP TABLE events")
    assert "choose from millrace, loader" in refused("sql", "--as", "root", "SELECT 1")
    assert "give a statement" in refused("sql", stdin=" \n")
    gone = refused("sql", "SELECT * FROM nosuch")
    assert gone.startswith("Unknown table expression identifier 'nosuch'")
    assert gone.partition(" (UNKNOWN_TABLE) ")[2].startswith("SHOW TABLES FROM analytics lists")
    assert "no_such_format" in refused("sql", "--format", "no_such_format", "SELECT 1")


def test_an_account_without_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CLICKHOUSE_READER_PASSWORD", "")
    assert "MILLRACE_CLICKHOUSE_READER_PASSWORD is not set" in refused("sql", "SELECT 1")


def test_the_ledger_is_asked_and_not_changed() -> None:
    query = "SELECT 7 AS n, 'x' AS b, NULL AS c"
    assert json.loads(said("sql", "--postgres", "--json", query)) == {"n": 7, "b": "x", "c": None}
    assert "7" in said("sql", "--postgres", query)
    assert "read-only transaction" in refused("sql", "--postgres", "DELETE FROM data_sources")
    assert "syntax error" in refused("sql", "--postgres", "SELEC 1")


def test_a_session_goes_on_after_an_error_and_keeps_its_tables(settings: Settings) -> None:
    mine, theirs = pty.openpty()
    program = [sys.executable, "-m", "millrace.cli", "sql", "--as", "operator"]
    with subprocess.Popen(
        program, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
    ) as running:
        lines = (
            "CREATE TEMPORARY TABLE mine AS",
            "SELECT 41 AS n;",
            "SELECT nosuch;",
            "SELECT n + 1 FROM mine;",
            "exit",
        )
        os.write(mine, "".join(f"{line}\n" for line in lines).encode())
        output = running.communicate(timeout=60)[0].decode()
    os.close(mine)
    os.close(theirs)
    assert running.returncode == 0, output
    assert "Unknown expression identifier" in output
    assert "42\n" in output


def test_a_session_that_has_ended_is_told_and_not_replaced_in_silence(settings: Settings) -> None:
    (operator,) = [one for one in accounts.read().accounts if one.name == "operator"]
    console = Console(settings, operator, "TabSeparated", session_seconds=1)

    def answer(statement: str) -> str:
        with console.ask(statement) as pieces:
            return b"".join(pieces).decode().strip()

    def has_ended() -> bool:
        try:
            return answer("SELECT getSetting('max_block_size')") != "7"
        except StatementError as error:
            return "its SETs and temporary tables are gone" in str(error)

    answer("SET max_block_size = 7")
    assert answer("SELECT getSetting('max_block_size')") == "7"
    waiting.until(has_ended, "the session to end", seconds=60, every=3)
    assert answer("SELECT getSetting('max_block_size')") != "7"
    console.close()


def test_an_event_is_sent_and_what_is_none_is_refused(settings: Settings) -> None:
    prepare.make_topics(settings)
    prepare.seed_rules(settings)
    with postgres.connect(settings) as connection:
        connection.execute("UPDATE data_sources SET is_active = true WHERE source_id = 'events'")
    mine = str(uuid.uuid4())
    event = json.dumps({"event_id": mine, "event": "click", "user_id": 2**63 + 1})
    assert said("send", event).startswith(f"{mine}: partition ")
    lines = '{"event": "click", "user_id": 1}\n\n{"event": "click", "user_id": 2}\n'
    assert len(said("send", stdin=lines).splitlines()) == 2
    assert "is no JSON object" in refused("send", "[1]")
    assert "NaN is no number" in refused("send", '{"event": "click", "amount": NaN}')
    assert "no source reads topic 'nosuch'" in refused("send", "--topic", "nosuch", event)
    assert "give an event" in refused("send", stdin="")


def test_a_source_is_added_listed_and_switched_off(settings: Settings) -> None:
    prepare.seed_rules(settings)
    name = f"shop_{uuid.uuid4().hex[:6]}"
    added = said("sources", "add", name, "--topic", f"{name}.events", "--owner", "shop-team")
    assert f"topic {name}.events was made" in added
    (mine,) = [s for s in json.loads(said("sources", "list", "--json")) if s["source_id"] == name]
    assert (mine["owner"], mine["is_active"]) == ("shop-team", True)
    assert "already" in refused("sources", "add", name, "--topic", "another")
    assert "already" in refused("sources", "add", "another", "--topic", f"{name}.events")
    assert "can't name a source" in refused("sources", "add", "A b", "--topic", "x")
    assert "is off" in said("sources", "disable", name)
    assert "there is no source 'nosuch'" in refused("sources", "enable", "nosuch")


def test_an_event_type_is_registered_shown_and_retired(settings: Settings) -> None:
    prepare.seed_rules(settings)
    name = f"wave_{uuid.uuid4().hex[:6]}"
    assert "is registered" in said("event-types", "register", name, "--description", "A wave.")
    assert "A wave." in said("event-types", "show", name)
    assert "by nothing but case and punctuation" in refused(
        "event-types", "register", name.upper().replace("_", " ")
    )
    assert "no space at either end" in refused("event-types", "register", " x")
    said("event-types", "retire", name)
    kept = {t["event_type"]: t for t in json.loads(said("event-types", "list", "--json"))}
    assert kept[name]["is_active"] is False
    assert "is not registered" in refused("event-types", "retire", "nosuch")


def test_a_rule_is_shown_as_it_is_added_and_says_what_changed(settings: Settings) -> None:
    prepare.seed_rules(settings)
    rule = (
        "{name: sku_there, rule_type: validation, event_type: click, mode: shadow,"
        " config: {check: required, field: sku}}"
    )
    assert "rule sku_there: added (required, shadow)" in said("rules", "add", "-", stdin=rule)
    shown = said("rules", "show", "sku_there")
    assert "is so already" in said("rules", "add", "-", stdin=shown)
    louder = shown.replace("mode: shadow", "mode: warn")
    changed = said("rules", "add", "-", stdin=louder)
    assert "changed: mode shadow → warn" in changed
    assert "sku_there would have hit" in changed
    listed = {r["name"]: r for r in json.loads(said("rules", "list", "--json"))}
    assert listed["sku_there"]["config"] == {"check": "required", "field": "sku"}
    assert "rule sku_there removed" in said("rules", "remove", "sku_there")
