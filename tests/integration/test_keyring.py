"""Keys and limits as the workers of the ingestion API hold them, against PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from millrace import waiting
from millrace.access import keys
from millrace.access.keys import NewKey
from millrace.api.http import ProblemError
from millrace.api.ingestion.keyring import MOST_WAITING, KeyRing
from millrace.api.ingestion.limits import Limits
from millrace.contract import sources
from millrace.settings import MissingSettingError, Settings
from millrace.stores import postgres
from millrace.usecases import prepare


@pytest.fixture(autouse=True)
def _there(settings: Settings) -> None:
    prepare.seed_rules(settings)


@pytest.fixture
def ring(settings: Settings) -> Iterator[KeyRing]:
    ring = KeyRing(settings)
    yield ring
    ring.close()


def made(settings: Settings, name: str, **how: object) -> str:
    with postgres.connect(settings) as connection:
        source = sources.default(connection, settings)
        return keys.add(connection, NewKey(name, source.source_id, **how))  # type: ignore[arg-type]


def test_a_key_is_found_with_its_account_and_topic(settings: Settings, ring: KeyRing) -> None:
    text = made(settings, "ring-found")
    assert not ring.is_loaded
    assert ring.find(text) is None
    ring.refresh()
    assert ring.is_loaded
    key = ring.find(text)
    assert key is not None
    assert key.name == "ring-found"
    assert ring.topic(key.source_id) == settings.events_topic
    account = ring.account(key)
    assert account.source_id == key.source_id
    assert account.hash_key == settings.ingest_hash_key.get_secret_value().encode()
    assert ring.find(keys.new_text()) is None
    assert ring.find("\ud800") is None


def test_a_sources_settings_come_with_its_keys(settings: Settings, ring: KeyRing) -> None:
    text = made(settings, "ring-settings")
    with postgres.connect(settings) as connection:
        connection.execute(
            "UPDATE data_sources SET config = config || %s::jsonb WHERE topic = %s",
            ['{"ingestion": {"unseen_names": "hold"}}', settings.events_topic],
        )
        ring.refresh()
        connection.execute("UPDATE data_sources SET config = config - 'ingestion'")
    key = ring.find(text)
    assert key is not None
    assert ring.account(key).settings == {"unseen_names": "hold"}


def test_new_and_revoked_keys_are_learnt_while_it_runs(settings: Settings, ring: KeyRing) -> None:
    ring.start()
    text = made(settings, "ring-new")
    waiting.until(lambda: ring.find(text), "the key to be let in", seconds=60, every=0.05)
    with postgres.connect(settings) as connection:
        keys.revoke(connection, "ring-new")
    waiting.until(lambda: not ring.find(text), "the key to be shut out", seconds=60, every=0.05)


def test_a_key_is_let_in_at_once_after_it_was_made(settings: Settings, ring: KeyRing) -> None:
    ring.start()
    waiting.until(lambda: ring.is_loaded, "the keys to be read", seconds=60, every=0.05)
    for number in range(3):
        text = made(settings, f"ring-at-once-{number}")
        assert asyncio.run(ring.known(text, "")).name == f"ring-at-once-{number}"


def test_a_stranger_is_told_so_by_what_was_read_since(settings: Settings, ring: KeyRing) -> None:
    ring.start()
    waiting.until(lambda: ring.is_loaded, "the keys to be read", seconds=60, every=0.05)
    for text, code in [
        (keys.new_text(), "unknown_key"),
        ("no key", "unknown_key"),
        ("", "missing_key"),
    ]:
        with pytest.raises(ProblemError) as refused:
            asyncio.run(ring.known(text, "make one"))
        assert (refused.value.status, refused.value.code) == (401, code)


def test_nobody_is_a_stranger_while_postgresql_is_away(settings: Settings, ring: KeyRing) -> None:
    ring.refresh()  # and never again, as if it didn't answer
    text = made(settings, "ring-untold")
    with pytest.raises(ProblemError) as refused:
        asyncio.run(ring.known(text, ""))
    assert (refused.value.status, refused.value.retry_after) == (503, 1)


def test_a_crowd_of_strangers_does_not_wait(settings: Settings, ring: KeyRing) -> None:
    ring.refresh()

    async def come() -> tuple[int, int]:
        crowd = [
            asyncio.create_task(ring.known(keys.new_text(), "")) for _ in range(MOST_WAITING + 9)
        ]
        told, waiting = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        problems = [one.exception() for one in told]
        assert all(isinstance(one, ProblemError) and one.status == 503 for one in problems)
        return len(told), len(waiting)

    assert asyncio.run(come()) == (9, MOST_WAITING)
    with pytest.raises(ProblemError, match="has not told"):  # there is room again
        asyncio.run(ring.known(keys.new_text(), ""))


def test_it_goes_on_without_postgresql(settings: Settings, ring: KeyRing) -> None:
    text = made(settings, "ring-alone")
    ring.start()
    waiting.until(lambda: ring.find(text), "the key to be let in", seconds=60, every=0.05)
    with postgres.connect(settings) as connection:
        pids = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND application_name = 'millrace' AND state = 'idle' AND query = 'COMMIT'"
        ).fetchall()
        assert pids
        for row in pids:
            connection.execute("SELECT pg_terminate_backend(%s)", [row["pid"]])
        assert ring.find(text)
        later = made(settings, "ring-later")
    waiting.until(lambda: ring.find(later), "it to connect again", seconds=60, every=0.05)


def test_without_a_hash_key_it_says_what_to_set(settings: Settings) -> None:
    bare = settings.model_copy(update={"ingest_hash_key": type(settings.ingest_hash_key)("")})
    with pytest.raises(MissingSettingError, match="MILLRACE_INGEST_HASH_KEY"):
        KeyRing(bare)


def test_workers_share_a_quota_through_postgresql(settings: Settings, ring: KeyRing) -> None:
    text = made(settings, "ring-quota", quota_per_day=100)
    ring.refresh()
    key = ring.find(text)
    assert key is not None
    one, two = Limits(2), Limits(2)
    workers = [one.background(settings), two.background(settings)]
    one.check(key, 60)
    two.check(key, 1)
    for worker in workers:
        worker.start()

    def is_learnt() -> bool:
        return all('"day";r=39;' in limits.headers(key)["ratelimit"] for limits in (one, two))

    waiting.until(is_learnt, "both to know of 61 events", seconds=60, every=0.05)
    with pytest.raises(ProblemError) as refused:
        two.check(key, 40)
    assert refused.value.code == "quota_exceeded"
    one.check(key, 30)
    for worker in workers:
        worker.stop()
    with postgres.connect(settings) as connection:
        (row,) = [row for row in keys.overview(connection) if row["name"] == "ring-quota"]
    assert row["events_today"] == 91  # the last ones are said when a worker ends
