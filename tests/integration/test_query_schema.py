"""The query API keeps to its description: no answer that is not declared, and never a 5xx.

Cases are generated from /openapi.json, those that break the description too. CI tries a few
thousand; tests/schemathesis.toml says how to try more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx


def test_every_answer_is_declared_and_none_is_a_failure(
    query_api: str, query_clients: Mapping[str, httpx.Client], repository: Path, tmp_path: Path
) -> None:
    token = query_clients["admin"].headers["authorization"].removeprefix("Bearer ")
    ended = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file"),
            *(repository / "tests" / "schemathesis.toml", "run", f"{query_api}/openapi.json"),
            *("--phases", "fuzzing", "--max-time", "15", "--seed", "1", "--no-color"),
        ],
        env=os.environ | {"SCHEMATHESIS_TOKEN": token},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
