"""Files of bad rows that name somebody who is to be forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.imports import kept
from millrace.settings import Settings


@pytest.mark.parametrize(
    ("content", "is_named"),
    [
        ("user_id,name\n12,Jörg\n".encode(), True),
        ("user_id,name\n,Jörg\n".encode("cp1252"), True),
        ("user_id,name\n12,\n".encode("utf-16-le"), True),
        ("user_id,name\n12,\n".encode("utf-16"), True),
        (b"user_id,name\n112,Jo\n-12,\n", False),
        ("user_id,name\n3,Jörgen\n".encode("cp1252"), False),
    ],
)
def test_a_person_is_found_in_any_encoding(tmp_path: Path, content: bytes, is_named: bool) -> None:
    path = tmp_path / "imports" / "file.0123abcd.bad_rows.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    settings = Settings().model_copy(update={"home": tmp_path})
    assert kept.naming(settings, {"12", "Jörg", "Łu"}) == ([path] if is_named else [])
