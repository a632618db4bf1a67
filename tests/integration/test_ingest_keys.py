"""``./millrace keys``: made, shown once, rotated with an overlap, revoked, and on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from millrace.access import keys
from millrace.cli.main import app
from millrace.settings import Settings
from millrace.stores import postgres
from millrace.usecases import prepare


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def said(*arguments: str) -> str:
    done = typed(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str) -> str:
    done = typed(*arguments)
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def listed(name: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(said("list", "--json")) if row["name"] == name]


@pytest.fixture(autouse=True)
def _there(settings: Settings) -> None:
    """The stack is there with its default source, which the commands find by the environment."""
    prepare.seed_rules(settings)


def test_a_key_is_printed_alone_and_kept_as_its_digest(settings: Settings) -> None:
    text = said("add", "shop", "--rate", "500", "--origin", "https://shop.example")
    assert keys.TEXT.fullmatch(text.removesuffix("\n"))
    text = text.strip()
    with postgres.connect(settings) as connection:
        (row,) = connection.execute("SELECT * FROM ingest_keys WHERE name = 'shop'").fetchall()
        audit = connection.execute(
            "SELECT new_value::text AS new FROM audit_logs WHERE table_name = 'ingest_keys'"
            " AND row_key = 'shop'"
        ).fetchall()
    assert row["digest"] == keys.digest(text)
    assert len(audit) == 1
    assert text.split("_")[2] not in repr(row) + repr(audit)
    (shown,) = listed("shop")
    assert shown["state"] == "active"
    assert shown["rate_per_second"] == 500
    assert shown["allowed_origins"] == ["https://shop.example"]
    assert text.split("_")[1] == shown["key_id"]
    assert "there is a key shop already" in refused("add", "shop")


def test_a_rotated_key_goes_on_for_the_overlap() -> None:
    old = said("add", "turned", "--quota", "9", "--scope", "read:live").strip()
    new = said("rotate", "turned", "--overlap", "2").strip()
    assert old != new
    first, second = listed("turned")
    assert (first["state"], second["state"]) == ("rotated", "active")
    assert second["quota_per_day"] == 9
    assert second["scopes"] == ["read:live"]
    left = datetime.fromisoformat(first["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < left <= timedelta(hours=2)
    said("rotate", "turned", "--overlap", "0")
    assert [row["state"] for row in listed("turned")] == ["rotated", "expired", "active"]


def test_a_revoked_name_is_free_again_and_its_secrets_are_not() -> None:
    said("add", "gone")
    said("rotate", "gone")
    said("revoke", "gone")
    assert {row["state"] for row in listed("gone")} == {"revoked"}
    assert "there is no key 'gone'" in refused("revoke", "gone")
    assert "there is no key 'gone'" in refused("rotate", "gone")
    said("add", "gone")
    assert [row["state"] for row in listed("gone")] == ["revoked", "revoked", "active"]


def test_the_key_of_the_stack_is_let_in_once_and_not_revived(settings: Settings) -> None:
    text = keys.new_text()
    own = settings.model_copy(update={"ingest_key": SecretStr(text)})
    with postgres.connect(settings) as connection:
        connection.execute("DELETE FROM ingest_keys WHERE name = 'default'")
    assert prepare.ensure_key(own)
    assert not prepare.ensure_key(own)
    assert [row["state"] for row in listed("default")] == ["active"]
    said("revoke", "default")
    assert not prepare.ensure_key(own)
    assert [row["state"] for row in listed("default")] == ["revoked"]


def test_the_key_of_the_stack_is_kept_when_it_is_rotated(settings: Settings) -> None:
    kept = settings.home / "secrets.env"
    with postgres.connect(settings) as connection:
        connection.execute("DELETE FROM ingest_keys WHERE name = 'default'")
    assert prepare.ensure_key(settings)
    before = kept.read_text()
    new = said("rotate", "default").strip()
    old = settings.ingest_key.get_secret_value()
    assert kept.read_text() == before.replace(old, new)
    assert Settings().ingest_key.get_secret_value() == new
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Shop"], "can't name a key"),
        (["shop2", "--source", "none_such"], "there is no source 'none_such'"),
        (["shop2", "--origin", "https://shop.example/path"], "is no origin"),
        (["shop2", "--scope", "admin"], "there is no scope 'admin'"),
        (["shop2", "--expires", "soon"], "neither an age"),
        (["shop2", "--rate", "99999999999"], "Input should be"),
        (["shop2", "--quota", "99999999999999999999"], "Input should be"),
        (["shop2", "--expires", "2020-01-01"], "is over"),
    ],
)
def test_what_can_be_no_key_is_said(arguments: list[str], words: str) -> None:
    assert words in refused("add", *arguments).replace("│ ", "")
    assert not listed("shop2")


@pytest.mark.parametrize("hours", ["nan", "inf", "-1", "1e9"])
def test_an_overlap_that_is_none_changes_nothing(hours: str) -> None:
    if not listed("kept"):
        said("add", "kept")
    refused("rotate", "kept", "--overlap", hours)
    assert [row["state"] for row in listed("kept")] == ["active"]


def test_a_key_runs_out(settings: Settings) -> None:
    said("add", "brief", "--expires", "12h")
    with postgres.connect(settings) as connection:
        (key,) = [key for key in keys.usable(connection) if key.name == "brief"]
        now = datetime.now(UTC)
        assert key.is_usable(now + timedelta(hours=11))
        assert not key.is_usable(now + timedelta(hours=13))
        connection.execute("UPDATE ingest_keys SET expires_at = now() WHERE name = 'brief'")
        assert "brief" not in {key.name for key in keys.usable(connection)}


def test_what_was_sent_with_a_key_is_counted_by_its_name(settings: Settings) -> None:
    said("add", "busy")
    with postgres.connect(settings) as connection:
        day, total = keys.count(connection, "busy", 5)
        assert keys.count(connection, "busy", 2) == (day, total + 2)
    assert [row["events_today"] for row in listed("busy")] == [7]
