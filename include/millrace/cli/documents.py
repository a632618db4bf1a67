"""Files that a person wrote, read for a command: YAML (and so JSON) with one mapping or a list."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.cli import listing
from millrace.cli.errors import fail


def read(path: Path, what: str) -> list[dict[str, Any]]:
    """Return the mappings of a file (``-`` is standard input); ``what`` says what each is.

    Ends the command in one line that names the place where the file is none, or a name that is
    there twice.
    """
    import yaml

    from millrace.contract import yaml_text

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        loaded = yaml_text.load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{path} can't be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise fail(f"{place}: {error.context or 'YAML'}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise fail(f"{path}: {' '.join(str(error).split())}") from None
    entries = loaded if isinstance(loaded, list) else [loaded]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise fail(f"{path}: entry {number} is no {what}, which is a mapping")
    names = [entry["name"] for entry in entries if "name" in entry]
    for at, name in enumerate(names):
        if name in names[:at]:  # the last would take the place of the others
            raise fail(f"{path}: {what} {name} is there twice")
    return entries


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say what of a thing changed, by what a person writes of it."""
    changed = [
        f"{key} {listing.inline(before.get(key))} → {listing.inline(after.get(key))}"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]
    return f"changed: {'; '.join(changed)}" if changed else "is so already"
