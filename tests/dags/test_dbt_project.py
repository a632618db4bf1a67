"""The trigger that has a changed dbt project deployed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from millrace.settings import Settings
from millrace.transform import project

PERIOD = 0.4
"""Longer than a busy machine makes a process wait between two writes."""


@pytest.fixture
def source(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a few files, deployed as it is."""
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_dbt_project", None)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    source = tmp_path / "dbt_source"
    source.mkdir()
    (source / "model.sql").write_text("select 1")
    monkeypatch.setattr(project, "SOURCE", source)
    project.copy(source, project.deployed(Settings()))
    return source


def test_a_change_is_told_once_when_its_files_stand_still(source: Path) -> None:
    from millrace_dbt_project import ProjectChanged

    async def watch() -> None:
        events = ProjectChanged(seconds=PERIOD).run()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(4 * PERIOD)
        assert not first.done(), "what is deployed is no change"

        for number in range(30):  # an editor at work
            (source / "model.sql").write_text(f"select {number}")
            await asyncio.sleep(PERIOD / 5)
        (source / "model.sql").write_text("select 2")
        event = await asyncio.wait_for(first, 10)
        assert event.payload == {"fingerprint": project.fingerprint(source)}

        # it may not be deployable; to be told again, it has to change again
        second = asyncio.ensure_future(anext(events))
        await asyncio.sleep(4 * PERIOD)
        assert not second.done()
        (source / "model.sql").write_text("select 3")
        event = await asyncio.wait_for(second, 10)
        assert event.payload == {"fingerprint": project.fingerprint(source)}

    asyncio.run(watch())


def test_it_can_be_made_again_from_what_the_database_holds(source: Path) -> None:
    from millrace_dbt_project import PROJECT, ProjectChanged

    path, arguments = ProjectChanged(seconds=3).serialize()
    assert path == f"{ProjectChanged.__module__}.{ProjectChanged.__name__}"
    assert ProjectChanged(**arguments).seconds == 3
    assert [type(watcher.trigger) for watcher in PROJECT.watchers] == [ProjectChanged]
