"""Which view an insert's error was thrown in."""

from __future__ import annotations

import pytest

from millrace.ingest.withdrawal import view_in

END = ". (CANNOT_PARSE_TEXT) (for url http://127.0.0.1:8123)"


@pytest.mark.parametrize(
    ("message", "view"),
    [
        (
            f"Code: 6. DB::Exception: no: while pushing to view analytics.a_mv{END}",
            "analytics.a_mv",
        ),
        (
            f"no: while pushing to view d.inner_mv: while pushing to view d.outer_mv{END}",
            "d.inner_mv",
        ),
        (f"no: while pushing to view d.`a view`{END}", "d.`a view`"),
        (f"no: while pushing to view d.a (3ca896ff-194e-4d0f-99c9-ad34994f7e4a){END}", "d.a"),
        (
            f"Cannot parse ': while pushing to view d.sound': while pushing to view d.a_mv{END}",
            "d.a_mv",
        ),
        (f"Memory limit exceeded{END}", ""),
    ],
)
def test_the_innermost_view_of_the_end_is_named(message: str, view: str) -> None:
    assert view_in(message) == view
