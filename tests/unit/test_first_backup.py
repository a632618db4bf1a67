"""The backup that `up` takes where there is none, so that a new stack can be restored at once."""

from __future__ import annotations

import pytest

from millrace.backups import catalogue, gateway, metadata, wal, warehouse
from millrace.settings import Settings
from millrace.usecases.first_backup import FirstBackup


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What lies in the bucket, by store; a backup adds to it."""
    there: dict[str, list[str]] = {"metadata": [], "warehouse": []}
    monkeypatch.setattr(gateway, "ensure_folders", lambda _settings: "bucket")
    monkeypatch.setattr(metadata, "bases", lambda _bucket: there["metadata"])
    monkeypatch.setattr(catalogue, "ids", lambda _bucket: there["warehouse"])
    monkeypatch.setattr(wal, "refusal", lambda _settings: "")
    for store in (metadata, warehouse):
        name = store.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            store, "back_up", lambda _settings, why, name=name: there[name].append(why)
        )
    return there


def test_each_store_that_has_none_is_backed_up_once(taken: dict[str, list[str]]) -> None:
    first = FirstBackup(Settings())
    first.take()
    assert first.was_taken
    assert {store: len(backups) for store, backups in taken.items()} == {
        "metadata": 1,
        "warehouse": 1,
    }
    again = FirstBackup(Settings())
    again.take()
    assert not again.was_taken
    assert [len(backups) for backups in taken.values()] == [1, 1]


def test_a_postgresql_that_lets_nobody_replicate_is_left_out(
    taken: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "refusal", lambda _settings: "no replication")
    FirstBackup(Settings()).take()
    assert [len(backups) for backups in taken.values()] == [0, 1]


def test_a_backup_under_way_does_as_well(
    taken: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_settings: Settings, _why: str) -> None:
        raise catalogue.BusyError("a backup is under way")

    monkeypatch.setattr(metadata, "back_up", busy)
    first = FirstBackup(Settings())
    first.take()
    assert not first.was_taken
    assert not any(taken.values())
