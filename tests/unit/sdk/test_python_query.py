"""The Python client's questions: answers as rows and frames, repeated on the API's bad days."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.helpers import documentation, proxy
from tests.helpers.proxy import Proxy, Reply, Sent
from tests.helpers.toolchains import TOOLS

SOURCE = Path(__file__).parents[3] / "sdk" / "python" / "src"
sys.path.insert(0, str(SOURCE))

from millrace_client import QueryClient, QueryError  # noqa: E402

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def point(hour: int, value: float | None, status: str) -> dict[str, Any]:
    return {
        "start": f"2026-11-29T{hour}:00:00Z",
        "end": f"2026-11-29T{hour + 1}:00:00Z",
        "value": value,
        "status": status,
        "reason": None if status == "complete" else "the audit failed",
        "compared": 7,
    }


ANSWER = {
    "metrics": [
        {
            "name": "page_views",
            "unit": "views",
            "kind": "sum",
            "meaning": "Views of a page",
            "series": [
                {"group": {"country": "DE"}, "total": 3, "points": [point(12, 3, "complete")]},
                {"group": {"country": ""}, "total": None, "points": [point(12, None, "withheld")]},
            ],
        }
    ],
    "range": {"start": "2026-11-29T12:00:00Z", "end": "2026-11-29T13:00:00Z"},
    "statistics": {"complete_until": "2026-11-29T12:00:00Z"},
    "next": None,
}


@pytest.fixture
def api() -> Iterator[Proxy]:
    with proxy.running(judge=lambda sent: Reply(200, ANSWER)) as running:
        yield running


def test_a_question_is_sent_and_its_answer_read(api: Proxy) -> None:
    with QueryClient(api.url + "/numbers", "a-token") as client:
        answer = client.metrics(
            ["page_views", "events"],
            range="24h",
            group_by=["country"],
            filter={"device": "mobile", "page": "/a&b"},
            limit=5,
        )
        client.query({"metrics": ["events"]})
    first, second = (sent for sent, _ in api.answers)
    assert first.headers["authorization"] == "Bearer a-token"
    parts = urlsplit(first.path)
    assert (first.method, parts.path) == ("GET", "/numbers/v1/metrics")
    assert {name: value[0] for name, value in parse_qs(parts.query).items()} == {
        "name": "page_views,events",
        "range": "24h",
        "tz": "UTC",
        "group_by": "country",
        "filter": "device:mobile,page:/a&b",
        "limit": "5",
    }
    assert (second.method, second.path) == ("POST", "/numbers/v1/query")
    assert second.body == b'{"metrics": ["events"]}'
    assert answer.complete_until == NOON
    assert answer.next == ""
    complete, withheld = answer.rows
    assert (complete.metric, complete.start, complete.group) == (
        "page_views", NOON, {"country": "DE"},
    )  # fmt: skip
    assert (complete.value, complete.status, complete.compared) == (3, "complete", 7)
    assert (withheld.value, withheld.reason) == (None, "the audit failed")


def test_frames_have_a_row_a_number(api: Proxy) -> None:
    with QueryClient(api.url, "a-token") as client:
        answer = client.metrics("page_views")
    columns = ["metric", "start", "end", "country", "value", "status", "reason", "compared"]
    frame = answer.to_pandas()
    assert list(frame.columns) == columns
    assert frame["start"][0] == NOON
    assert str(frame.dtypes["start"]).startswith("datetime64[us, UTC")
    assert frame["value"].sum() == 3.0
    assert frame["value"].isna().tolist() == [False, True]
    table = answer.to_polars()
    assert table.columns == columns
    assert table["start"][0] == NOON
    assert table["value"].to_list() == [3.0, None]


def test_the_program_of_the_documentation(api: Proxy) -> None:
    (program,) = documentation.blocks("docs/query-api.md", "python")
    variables = os.environ | {
        "PYTHONPATH": str(SOURCE),
        "MILLRACE_URL": api.url,
        "MILLRACE_TOKEN": "a-token",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "page_views" in done.stdout


def test_the_package_that_pip_installs_can_be_imported(tmp_path: Path) -> None:
    """In an environment with nothing else; it needs nothing else."""
    uv = shutil.which("uv") or str(TOOLS / "uv" / "bin" / "uv")
    source, fresh = tmp_path / "python", tmp_path / "fresh"
    shutil.copytree(SOURCE.parent, source, ignore=shutil.ignore_patterns("*.egg-info", "build"))

    def run(*command: str | Path) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    build = ("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable)
    run(uv, *build, "--out-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    run(uv, "venv", "--quiet", "--python", sys.executable, fresh)
    python = fresh / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--offline", "--python", python, wheel)
    program = "import millrace_client as m; print(m.__file__, m.Client, m.QueryClient)"
    assert run(python, "-I", "-c", program).startswith(str(fresh))
    typed = fresh / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert (typed / "millrace_client" / "py.typed").exists()


def test_it_asks_again_when_it_is_told_to() -> None:
    replies = iter([Reply(503, {}, {"Retry-After": "7"}), Reply(cut=True), Reply(200, ANSWER)])
    waited: list[float] = []
    with (
        proxy.running(judge=lambda sent: next(replies)) as api,
        QueryClient(api.url, "a-token", sleep=waited.append) as client,
    ):
        assert client.metrics("page_views").rows
    assert waited[0] == 7.0
    assert len(waited) == 2


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 1), (422, 1), (503, 3)])
def test_what_is_refused_is_told_with_its_code(status: int, tries: int) -> None:
    problem = {"code": "unknown_metric", "detail": "There is no metric visits."}

    def refuse(_sent: Sent) -> Reply:
        return Reply(status, problem, {"Retry-After": "10"} if len(waited) == 2 else {})

    waited: list[float] = []
    with (
        proxy.running(judge=refuse) as api,
        QueryClient(api.url, "a-token", retry_seconds=5, sleep=waited.append) as client,
        pytest.raises(QueryError, match="There is no metric visits") as refused,
    ):
        client.metrics("visits")
    assert (refused.value.status, refused.value.code) == (status, "unknown_metric")
    assert len(waited) + 1 == tries


def test_nobody_answers_or_no_address() -> None:
    with (
        QueryClient("http://127.0.0.1:9", "a-token", retry_seconds=0) as client,
        pytest.raises(QueryError, match="refused") as error,
    ):
        client.metrics("visits")
    assert (error.value.status, error.value.code) == (0, "unanswered")
    with pytest.raises(ValueError, match="no address"):
        QueryClient("numbers.example.com", "a-token")
