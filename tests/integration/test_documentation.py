"""Everything that the documentation says to type runs as typed, on a stack of its own."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.helpers import documentation
from tests.helpers.documentation import ROOT, Command
from tests.integration.ingest_bed import DrainingWorker

from millrace.ingest.worker import Share
from millrace.lab import stacks
from millrace.stack.stack import Stack
from millrace.usecases import gates

ELSEWHERE = {
    "up": "tests/integration/test_stack.py",
    "down": "tests/integration/test_stack.py",
    "reset": "tests/integration/test_stack.py",
    "test": "tests/unit/test_launcher.py",
    "simulate": "tests/integration/test_verify.py",
    "verify": "tests/integration/test_verify.py",
    "chaos": "tests/chaos/test_campaign.py",
    "bench": "tests/unit/test_tools.py",
    "generate": "tests/unit/test_documentation.py",
    "airflow": "tests/integration/whole/test_airflow.py",
    "restore": "tests/integration/test_disasters.py",
    "backups": "tests/integration/test_backups.py",
    "erase": "tests/integration/test_erasure.py",
    "keys": "tests/integration/test_ingest_keys.py",
    "tokens": "tests/integration/test_query_identity.py",
    "users change": "tests/integration/test_query_logins.py",
    "users password": "tests/integration/test_query_logins.py",
    "users disable": "tests/integration/test_query_logins.py",
    "users enable": "tests/integration/test_query_logins.py",
    "quality metrics": "tests/integration/test_quality.py",
    "quality audit": "tests/integration/test_quality.py",
    "dbt": "tests/integration/test_transform.py",
    "alerts routes test": "tests/integration/test_alerts_cli.py",
    "alerts test": "tests/integration/test_alerts_cli.py",
}
"""Commands that stop, replace or measure a stack, take minutes, or need an order: who runs them."""

STANDS_FOR = {
    "rules": {"NAME": "country_code", "FILE": "rules.yaml"},
    "event-types": {"TYPE": "survey_sent"},
    "alerts": {"NAME": "no_events"},
    "alerts enable": {"NAME": "slack"},
    "alerts disable": {"NAME": "slack"},
    "alerts routes": {"NAME": "slack"},
    "exports": {"NAME": "admin"},
    "logs": {"NAME": "kafka"},
}
"""What is typed for a word in capitals, by the command."""

ANSWERS = {"status": {0, 1}}
"""Exit codes other than 0 that are an answer."""

IS_NO_LINE = re.compile("…| \\| |MANIFEST|EVENT|import FILE|FLIGHTS|\\[|hashed|/run=42/")
"""Marks a command that is spoken of, which ``tests/unit/test_documentation.py`` checks."""


SETTINGS = {"MILLRACE_EVENTS_RETENTION_DAYS": "400"}
"""What docs/importing.md sets before the first start."""


class Place:
    """A folder with the files that the documentation speaks of, beside a running stack."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        (folder / "millrace").symlink_to(ROOT / "millrace")
        for name in ("dbt", "tests"):
            (folder / name).symlink_to(ROOT / name)
        now = datetime.now(UTC).isoformat()
        with (folder / "orders.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["created_at", "customer", "amount"], [now, 7, "3.5"]])
        flights = ROOT / "tests" / "data" / "flights" / "flights-slice.parquet"
        (folder / "flights-3m.parquet").symlink_to(flights)
        for page, name, key in (
            ("docs/data-quality.md", "rules.yaml", "- name: coupon_code"),
            ("docs/alerts.md", "checkout_slow.yaml", "name: checkout_slow"),
        ):
            (block,) = [b for b in documentation.blocks(page, "yaml") if b.startswith(key)]
            (folder / name).write_text(block)

    @property
    def environment(self) -> dict[str, str]:
        """What a shell beside the stack has."""
        settings = self.stack.settings
        return os.environ | {
            "MILLRACE_HOME": str(settings.home),
            "MILLRACE_PORT_BASE": str(settings.port_base),
            **SETTINGS,
            "KAFKA": settings.kafka_bootstrap_servers,
            "COLUMNS": "80",
        }

    def type(self, line: str, answers: frozenset[int] = frozenset({0})) -> str:
        """Type a line into a shell; return what it said."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",  # messages are shown as they came
            check=False,
            timeout=240,
        )
        said = done.stdout + done.stderr
        assert done.returncode in answers, f"{line}\n{said}"
        assert "Traceback" not in said, f"{line}\n{said}"
        return done.stdout

    def type_while_ingesting(self, line: str, answers: frozenset[int] = frozenset({0})) -> str:
        """Type a line that waits until what it sent is loaded."""
        with ThreadPoolExecutor(1) as pool:
            said = pool.submit(self.type, line, answers)
            while not said.done():
                self.load()
            return said.result()

    def load(self) -> None:
        """Load what is in Kafka, as ``ingest_events`` does."""
        run_id = f"documentation-{uuid.uuid4().hex[:6]}"
        for values in gates.plan(self.stack.settings, run_id):
            DrainingWorker(self.stack.settings, Share.from_dict(values), run_id).run(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("documented")
    with stacks.running(home / "stack", with_airflow=False, **SETTINGS) as stack:
        stack.log("scheduler").touch()
        folder = home / "typed"
        folder.mkdir()
        place = Place(stack, folder)
        place.type("./millrace simulate --rate 1000 --duration 2 --seed 7")
        place.type("./millrace migrate")
        place.load()
        yield place


def path_of(command: Command) -> str:
    """Return the command without its arguments: ``rules add``."""
    return " ".join(command.words[:2])


def lines() -> list[Command]:
    """Return what is to be typed here."""
    return [
        command
        for command in documentation.commands()
        if not IS_NO_LINE.search(command.text)
        and not {" ".join(command.words[:n]) for n in (1, 2, 3)} & ELSEWHERE.keys()
        and (len(command.words) > 1 or command.words[0] not in GROUPS)
    ]


GROUPS = {
    "sql",
    "send",
    "rules",
    "ingest",
    "quality",
    "alerts",
    "exports",
    "backups",
    "import",
    "verify",
    "sources",
    "event-types",
}
"""Named without anything after them, they are spoken of."""


def test_who_runs_the_others() -> None:
    for test in ELSEWHERE.values():
        assert (ROOT / test).exists(), test


@pytest.mark.parametrize("command", lines(), ids=str)
def test_a_line_runs_as_it_is_typed(place: Place, command: Command) -> None:
    line = command.text
    for path in (path_of(command), command.words[0]):
        for word, meant in STANDS_FOR.get(path, {}).items():
            line = re.sub(rf"\b{word}\b", meant, line)
    answers = ANSWERS.get(path_of(command), ANSWERS.get(command.words[0], {0}))
    type_it = place.type_while_ingesting if command.words[0] == "import" else place.type
    type_it(line, frozenset(answers))


def test_an_event_of_ones_own_is_seen(place: Place) -> None:
    """docs/events.md from top to bottom: sent by hand and from Python, seen where it says."""
    page = [c.text for c in documentation.commands() if c.page == "docs/events.md"]
    (send,) = [line for line in page if " send " in line]
    queries = [line for line in page if " sql " in line]
    (program,) = documentation.blocks("docs/events.md", "python")
    place.load()  # what other lines sent
    before = sum(int(row.split("\t")[1]) for row in place.type(queries[1]).splitlines())

    place.type(send)
    (place.folder / "producer.py").write_text(program)
    place.type(f"{sys.executable} producer.py")
    place.load()

    types = [row.split("\t")[0] for row in place.type(queries[0]).splitlines()]
    assert types[:2] == ["purchase", "page_view"]
    assert "'amount':'49.9'" in place.type(queries[0])
    after = sum(int(row.split("\t")[1]) for row in place.type(queries[1]).splitlines())
    assert after == before + 1


def test_the_event_of_the_page_is_accepted(place: Place) -> None:
    (event,) = documentation.blocks("docs/events.md", "json")
    fresh = yaml.safe_load(event) | {"timestamp": datetime.now(UTC).isoformat()}
    fresh["event_id"] = str(uuid.uuid4())
    import json

    (place.folder / "event.json").write_text(json.dumps(fresh))
    place.type("./millrace send < event.json")
    place.load()
    count = f"SELECT count() FROM events WHERE event_id = '{fresh['event_id']}'"
    assert place.type(f'./millrace sql --as operator "{count}"') == "1\n"
