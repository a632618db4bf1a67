"""What ``up`` says at the end: how to get in, and no secret where it would end in a log."""

from __future__ import annotations

from pathlib import Path

from millrace.cli import summary
from millrace.settings import Settings

ROWS = [
    ("Airflow", "http://127.0.0.1:18080", "admin", "s3cret"),
    ("Kafka", "127.0.0.1:18082", "", ""),
    (summary.INGEST_KEY, "mr_s3cret", "", ""),
]


def test_a_person_is_told_the_passwords(tmp_path: Path) -> None:
    told = summary.logins(ROWS, Settings(home=tmp_path), is_terminal=True)
    assert told[0].endswith("http://127.0.0.1:18080  admin / s3cret")
    assert told[2].endswith("mr_s3cret")


def test_a_log_is_told_where_they_are(tmp_path: Path) -> None:
    told = summary.logins(ROWS, Settings(home=tmp_path), is_terminal=False)
    assert "s3cret" not in "".join(told)
    assert told[0].endswith(f"admin / in {tmp_path}/secrets.env")
    assert told[2].endswith(f"MILLRACE_INGEST_KEY in {tmp_path}/secrets.env")
