"""What the documentation tells people to type, and where it says so."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )*\./millrace [^`\n]+)`(?!`)")


GENERATED = "docs/commands.md"
"""Names every command as the code does."""


@dataclass(frozen=True)
class Command:
    """A command as it is typed; ``page`` is where, from the checkout."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments after ``./millrace``, without what a shell does to others."""
        words = shlex.split(self.text, comments=True)
        return words[words.index("./millrace") + 1 :]

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands() -> list[Command]:
    """Return every ``./millrace …`` of the pages and of the DAGs' manuals, once each."""
    found: dict[str, Command] = {}
    for page, text in _texts():
        for command in _typed(text):
            found.setdefault(command, Command(page, command))
    return list(found.values())


def blocks(page: str, language: str) -> list[str]:
    """Return a page's blocks of code in a language."""
    return [code for name, code in _BLOCK.findall((ROOT / page).read_text()) if name == language]


def _texts() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        if path == ROOT / GENERATED:
            continue
        yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted((ROOT / "dags").glob("*.py")):
        yield str(path.relative_to(ROOT)), ast.get_docstring(ast.parse(path.read_text())) or ""


def _typed(text: str) -> Iterator[str]:
    for language, code in _BLOCK.findall(text):
        if language in ("", "sh"):
            lines = iter(code.replace("\\\n", " ").splitlines())
            for first in lines:
                line = first
                while line.count('"') % 2:  # a statement over several lines
                    line += "\n" + next(lines)
                if re.match(r"([A-Z_]+=\S+ )*\./millrace ", line):
                    yield line.partition("  #")[0].strip()
    for command in _INLINE.findall(_BLOCK.sub("", text)):
        yield command.replace("\\|", "|")
