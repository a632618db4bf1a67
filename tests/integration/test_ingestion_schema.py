"""The ingestion API keeps to its description: no answer that is not declared, and never a 5xx.

Cases are generated from /openapi.json, those that break the description too, for some seconds; by
hand, for an hour: ``SCHEMATHESIS_SECONDS=3600``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.ingestion_bed import Sender

from millrace.settings import Settings

SECONDS = os.environ.get("SCHEMATHESIS_SECONDS", "15")


def test_every_answer_is_declared_and_none_is_a_failure(
    settings: Settings, ingestion_api: str, repository: Path, tmp_path: Path
) -> None:
    sender = Sender(settings, ingestion_api)
    ended = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file"),
            *(repository / "tests" / "schemathesis.toml", "run", f"{ingestion_api}/openapi.json"),
            *("--phases", "fuzzing", "--max-time", SECONDS, "--seed", "1", "--no-color"),
        ],
        env=os.environ | {"SCHEMATHESIS_TOKEN": sender.key},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
