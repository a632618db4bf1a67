"""The event contract is data: a field that is added to it shows wherever events are spoken of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from millrace.contract import generate
from millrace.contract.failures import Failure, parse
from millrace.contract.fields import COLUMNS
from millrace.contract.personal import PERSONAL_COLUMNS
from millrace.settings import REPOSITORY
from millrace.stores import accounts
from tests.unit.rules.conftest import KAFKA_TIME, ChdbEngine, messages

ADDED = """
    Field(
        name="campaign",
        column="campaign_name",
        type="LowCardinality(String)",
        meaning="What led the person here",
        is_required=True,
        is_personal=True,
    ),
"""

TOLD = """
import json
from millrace.contract import fields, generate, personal
from millrace.imports.convert import Converter
from millrace.imports.mapping import Mapping
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.stores import sql

around = Surroundings(event_types=(), message_max_bytes=1 << 20, events_retention_days=90)
gate = compile_gate([], around)
row = {"at": "2026-01-01T12:00:00Z", "event": "e", "user_id": 1, "from": "mail"}
mapping = Mapping(columns={"timestamp": "at", "campaign": "from"})
ingest = {"columns": fields.COLUMNS, "topic": "t", "incarnation": 0, "target": "events"}
print(json.dumps({
    "gate": gate.as_json(),
    "statement": gate.statement("RELATION", claimed_at="kafka_timestamp"),
    "imported": Converter(mapping).event(row),
    "document": generate.table(),
    "macro": generate.macro(),
    "personal": personal.PERSONAL_COLUMNS,
    "session": sql.render("clickhouse/ingest/session.sql", source_number=1, **ingest),
    "stage": sql.render("clickhouse/ingest/stage.sql", gate="SELECT 1", **ingest),
    "publish": sql.render(
        "clickhouse/ingest/publish_events.sql", enrich=True, has_refused=False, is_rewrite=False,
        **ingest,
    ),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package says whose contract has one more field."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("include/millrace", "include/sql"):
        shutil.copytree(REPOSITORY / folder, copy / folder)
    data = copy / "include" / "millrace" / "contract" / "fields.py"
    text = data.read_text()
    place = '    Field(name="page"'
    assert place in text
    data.write_text(text.replace(place, f"{ADDED.strip(chr(10))}\n{place}", 1))
    answer = subprocess.run(
        [sys.executable, "-c", TOLD],
        env={**os.environ, "PYTHONPATH": str(copy / "include")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


def judged(engine: ChdbEngine, told: dict[str, Any], **event: Any) -> dict[str, Any]:
    value = json.dumps(
        {
            "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
            "event": "click",
            "timestamp": "2026-01-01T11:59:00Z",
            "user_id": 7,
            **event,
        }
    )
    relation = messages([value.encode()], KAFKA_TIME)
    (row,) = engine.rows(told["statement"].replace("RELATION", relation))
    return row


def test_the_gate_reads_an_added_field_into_its_column(
    engine: ChdbEngine, told: dict[str, Any]
) -> None:
    row = judged(engine, told, campaign="spring", other="x")
    assert (row["campaign_name"], row["failures"]) == ("spring", [])
    assert row["properties"] == {"other": "x"}


def test_an_added_field_is_checked(engine: ChdbEngine, told: dict[str, Any]) -> None:
    assert judged(engine, told)["failures"] == ["missing_field|campaign|contract"]


def test_statements_publish_an_added_field(told: dict[str, Any]) -> None:
    assert "campaign_name LowCardinality(String)" in told["session"]
    for name in ("stage", "publish"):
        assert told[name].count("campaign_name") == 2, name  # what is filled, and from what


def test_an_import_fills_an_added_field(told: dict[str, Any]) -> None:
    assert told["imported"]["campaign"] == "mail"


def test_documents_and_dbt_have_an_added_field(told: dict[str, Any]) -> None:
    line = (
        "| `campaign` | `campaign_name` | `LowCardinality(String)` | yes | yes | What led the "
        "person here |"
    )
    assert line in told["document"].splitlines()
    assert "    campaign_name," in told["macro"].splitlines()


def test_an_added_field_is_protected(told: dict[str, Any]) -> None:
    assert "campaign_name" in told["personal"]


def test_generated_files_are_up_to_date() -> None:
    for path, text in generate.contents().items():
        assert (REPOSITORY / path).read_text(encoding="utf-8") == text, "run ./millrace generate"


def test_dbt_describes_each_column() -> None:
    path = REPOSITORY / "dbt" / "models" / "staging" / "_staging__models.yml"
    models = {model["name"]: model for model in yaml.safe_load(path.read_text())["models"]}
    described = {column["name"] for column in models["stg_events"]["columns"]}
    assert {column.column for column in COLUMNS} <= described


def test_readers_and_exports_are_kept_from_the_same_columns() -> None:
    hidden = accounts.read().personal_columns["published.events"]
    exports = yaml.safe_load((REPOSITORY / "include" / "seeds" / "exports.yaml").read_text())
    (events,) = (one for one in exports if one["name"] == "events")
    protected = [
        one["name"] for one in events["columns"] if isinstance(one, dict) and one.get("is_personal")
    ]
    assert set(hidden) == set(protected) == set(PERSONAL_COLUMNS)


def test_a_label_is_taken_apart_as_it_was_put_together() -> None:
    failure = Failure("out_of_range", "price", "price_range")
    assert failure.label == "out_of_range|price|price_range"
    assert parse(failure.label) == failure
    assert parse("empty_message||contract") == Failure("empty_message", rule="contract")
