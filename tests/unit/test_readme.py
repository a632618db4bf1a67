"""README.md says what is: its tables name every command and every setting, and its links hold."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from millrace.cli.main import app
from millrace.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_table() -> None:
    listed = set(re.findall(r"^\| `\./millrace ([\w-]+)", README, re.MULTILINE))
    assert listed == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `MILLRACE_(\w+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    listed = {name.lower(): (default.strip("`"), meaning) for name, default, meaning in rows}
    assert listed.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        default, meaning = listed[name]
        assert meaning == field.description
        if field.default_factory is None:
            value = field.default
            plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            assert default == str(plain), name
