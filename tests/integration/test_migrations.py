"""The base tables' migrations: applied once, in order, and never edited afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.lab.engines import Engine
from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.stores.migrations import EditedMigrationError


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Iterator[Settings]:
    """A database of the test's own."""
    url = engine.settings_url.rsplit("/", 1)[0] + "/millrace_migrations"
    yield Settings(home=tmp_path, clickhouse_url=url)
    engine.text("DROP DATABASE IF EXISTS millrace_migrations SYNC", database="default")


@pytest.fixture
def files(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the SQL files, which may be edited."""
    copy = tmp_path / "sql"
    shutil.copytree(settings.sql_folder, copy)
    monkeypatch.setitem(vars(settings), "sql_folder", copy)
    return copy / "clickhouse" / "migrations"


def test_each_file_is_applied_once(settings: Settings) -> None:
    applied = clickhouse.migrate(settings)
    assert applied == sorted(applied)
    assert "010_events" in applied
    assert clickhouse.migrate(settings) == []


def test_an_edited_file_is_refused_by_name_and_a_new_one_is_not_applied(
    settings: Settings, files: Path
) -> None:
    clickhouse.migrate(settings)
    with (files / "010_events.sql").open("a") as file:
        file.write("\n-- a word more\n")
    (files / "999_later.sql").write_text("CREATE TABLE later (id UInt8) ENGINE = Memory\n")
    with pytest.raises(EditedMigrationError, match=r"010_events\.sql was edited"):
        clickhouse.migrate(settings)
    with clickhouse.connect(settings) as client:
        assert client.command("EXISTS TABLE later") == 0


def test_a_warehouse_from_before_hashes_takes_the_files_as_they_are(settings: Settings) -> None:
    clickhouse.migrate(settings)
    with clickhouse.connect(settings) as client:
        client.command("ALTER TABLE schema_migrations DROP COLUMN content_hash")
    assert clickhouse.migrate(settings) == []
    with clickhouse.connect(settings) as client:
        unknown = "SELECT count() FROM schema_migrations FINAL WHERE content_hash = ''"
        assert client.command(unknown) == 0
