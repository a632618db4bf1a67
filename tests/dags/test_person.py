"""Who a run is put down to: the person that the query API names, or Airflow's user."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("user", "conf", "who"),
    [
        ("query", {"started_by": "ana"}, "ana"),
        ("mallory", {"started_by": "ana"}, "mallory"),
        ("admin", None, "admin"),
        (None, {"started_by": "ana"}, "nobody"),
    ],
)
def test_only_the_query_api_is_believed_whom_it_names(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: str | None,
    conf: dict[str, str] | None,
    who: str,
) -> None:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_dags", None)
    from millrace_dags import person

    assert person(SimpleNamespace(triggering_user_name=user, conf=conf), "nobody") == who
