"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.helpers import engine as engines

USERS = """
[users.reader]
password = "reads"
readonly = 2

[users.dashboard]
password_sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
readonly = 1
row_filters = { "default.visits" = "country = 'US'" }

[users.tuned]
settings = { max_result_rows = "10" }
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """An engine without the rest of the stack; each test makes tables of its own."""
    with engines.running(
        tmp_path_factory.mktemp("engine"), "--max-concurrent", "4", "--max-queued", "4", users=USERS
    ) as started:
        yield started
