"""The documentation names commands and options that there are, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from millrace.cli import generate, summary
from millrace.cli.main import app
from millrace.settings import Settings
from tests.helpers import documentation
from tests.helpers.documentation import ROOT, Command

COMMANDS = (ROOT / documentation.GENERATED).read_text()

TREE = get_command(app)
"""Every command, made once: it takes longer than all that a test asks of it."""

PASSES_ON = {"dbt", "test", "bench", "airflow"}
"""Commands whose options are another program's."""


def test_there_is_something_to_look_at() -> None:
    found = [command.text for command in documentation.commands()]
    assert "./millrace up" in found
    assert len(found) > 50


NEXT_STEPS = [
    Command("./millrace up", how.partition(" (")[0])
    for _aim, how in summary.next_steps(Settings())
    if how.startswith("./millrace")
]

LISTINGS = [
    "alerts history", "alerts list", "alerts outbox", "alerts routes list", "alerts silence list",
    "backups list", "event-types list", "exports due", "exports list", "ingest status",
    "keys list",
    "quality metrics", "rules drift", "rules list", "sources list", "status",
    "tokens list", "users list",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTINGS)
def test_a_listing_is_given_as_json_and_yaml(path: str) -> None:
    at = TREE
    for word in path.split():
        at = at.commands[word]  # type: ignore[attr-defined]
    options = {option for parameter in at.params for option in parameter.opts}
    assert {"--json", "--yaml"} <= options


def test_no_listing_is_left_out() -> None:
    listed = re.findall(r"^\| `\./millrace ([a-z -]*\blist)\b", COMMANDS, re.MULTILINE)
    assert set(listed) <= set(LISTINGS)
    assert listed


@pytest.mark.parametrize("command", [*documentation.commands(), *NEXT_STEPS], ids=str)
def test_a_command_and_its_options_exist(command: Command) -> None:
    words = [word for word in command.words if word not in ("…", "|")]
    at = TREE
    while words and words[0] in getattr(at, "commands", {}):
        at = at.commands[words.pop(0)]  # type: ignore[attr-defined]
    if hasattr(at, "commands"):  # a group, or some of its commands
        left = [word for word in words if word not in at.commands]
        assert not left, f"{command} names no command"
    elif at.name not in PASSES_ON:
        known = {
            option
            for parameter in at.params
            for option in [*parameter.opts, *parameter.secondary_opts]
        }
        given = {word.strip("[]").split("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
        assert given <= known, f"{command} has options that there are not"


@pytest.mark.parametrize("page", documentation.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links {target}"


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_a_contributor_finds_what_is_looked_for() -> None:
    for name in (
        "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md",
        "Makefile", ".pre-commit-config.yaml", ".github/CODEOWNERS",
    ):  # fmt: skip
        assert (ROOT / name).stat().st_size, name


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


CONTENTS = generate.contents(TREE)


@pytest.mark.parametrize("path", CONTENTS, ids=str)
def test_what_follows_from_the_code_is_up_to_date(path: Path) -> None:
    said = (ROOT / path).read_text()
    assert said == CONTENTS[path], "run ./millrace generate"


def test_each_decision_has_a_number_of_its_own_a_date_and_a_state() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    numbers = []
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title, _, state = path.read_text().split("\n")[:3]
        number = re.match(r"# (\d+)\. \S", title)
        assert number, path.name
        numbers.append(int(number[1]))
        assert path.name.startswith(f"{numbers[-1]:04}-")
        known = r"\*(Accepted|Superseded by \[.*\]\(.*\)), \d{4}-\d\d-\d\d\.\*"
        assert re.fullmatch(known, state), f"{path.name}: {state}"
        assert f"(decisions/{path.name})" in index, f"docs/index.md does not name {path.name}"
    assert len(numbers) == len(set(numbers))
