"""The list of refusals in the documentation is whole, and has no others."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
MADE = re.compile(r'ProblemError\(\s*(\d{3}),\s*"([a-z_]+)"')
OF_HTTP = {("malformed_json", "400"), ("method_not_allowed", "405")}
"""Made where every API makes them, or of the status alone."""


def test_every_code_is_documented_with_its_status() -> None:
    made = {
        (code, status)
        for path in (ROOT / "include" / "millrace" / "api" / "query").rglob("*.py")
        for status, code in MADE.findall(path.read_text())
    }
    page = (ROOT / "docs" / "query-api.md").read_text().partition("## Refusals")[2]
    documented = {
        (code, status)
        for names, status in re.findall(r"^\| (`.+?`) \| (\d{3}) \|", page, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", names)
    }
    assert documented == made | OF_HTTP
