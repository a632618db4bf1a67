"""Where programs on this machine reach the APIs, whichever address these listen on."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.settings import Settings


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:20011"),
        ("0.0.0.0", "http://127.0.0.1:20011"),  # noqa: S104
        ("::", "http://[::1]:20011"),
        ("10.1.2.3", "http://10.1.2.3:20011"),
    ],
)
def test_an_api_is_reached_where_it_listens(tmp_path: Path, host: str, reached: str) -> None:
    settings = Settings(home=tmp_path, port_base=20_000, query_host=host)
    assert settings.api_url("query") == reached
