"""What is wrong with a suite is said, and its file's fault alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.quality import suites

GOOD = """
dataset: good
relation: events
time_column: event_time
publishes: true
windows: [5m, 1h]
expectations:
  - expect: ExpectNoRows
    description: It holds.
    otherwise: It fails.
    query: "SELECT 1 FROM {batch} WHERE 0"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites, in which one is good."""
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "good.yaml").write_text(GOOD)
    return tmp_path / "base"


@pytest.mark.parametrize(
    ("changed", "into", "said"),
    [
        ("dataset: good", "dataset: good  # copied", "good is that of expectations/base/good.yaml"),
        ("dataset: good", "dataset: 5", "5 is not a text"),
        ("dataset: good", "dataset: ''", "neither may be empty"),
        ("relation: events", "relation: 5", "5 is not a text"),
        ("relation: events", "relation: ' '", "neither may be empty"),
        ("event_time", "[event_time]", "is not a text"),
        ("windows: [5m, 1h]", "windows: 5m", "'5m' is not a list"),
        ("windows: [5m, 1h]", "windows: [5m, 1h]\nmade_from: events", "'events' is not a list"),
        ("    query", "    windows: [1hour]\n    query", "['1hour'] are not among the suite's"),
        ("    query", "    windows: [5m]\n    query", "nothing is expected of 1h"),
    ],
)
def test_a_suite_that_is_not_meant_so_is_refused(
    folder: Path, changed: str, into: str, said: str
) -> None:
    text = GOOD.replace(changed, into, 1)
    if "good is that" not in said:
        text = text.replace("dataset: good", "dataset: mine")
    (folder / "mine.yaml").write_text(text)
    (fault,) = suites.faults()
    assert fault.startswith("expectations/base/mine.yaml: ")
    assert said in fault
    assert [suite.dataset for suite in suites.load_suites()] == ["good"]


@pytest.mark.parametrize("place", ["base/mine.yml", "mine.yaml", "marts/shop/mine.yaml"])
def test_a_suite_is_read_wherever_it_lies(folder: Path, place: str) -> None:
    path = folder.parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GOOD.replace("dataset: good", "dataset: mine"))
    assert {suite.dataset for suite in suites.load_suites()} == {"good", "mine"}


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "mine.yaml").symlink_to("nowhere")
    (folder / ".#good.yaml").symlink_to("somebody@somewhere.1")  # an editor's lock is no suite
    (fault,) = suites.faults()
    assert fault.startswith("expectations/base/mine.yaml: ")
    assert [suite.dataset for suite in suites.load_suites()] == ["good"]
