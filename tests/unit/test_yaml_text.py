"""YAML that people write says what they mean."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from millrace.alerts import rules as alert_rules
from millrace.contract import yaml_text
from millrace.exports import definitions
from millrace.quality import suites
from millrace.rules import store

SUITE = """
dataset: countries
relation: events
windows: [1h]
publishes: false
expectations:
  - expect: ExpectColumnValuesToBeInSet
    description: Every country is in the north.
    otherwise: Some countries are not in the north.
    column: country
    value_set: [DK, NO, SE]
"""
EXPORT = """
- name: norway
  description: From Norway
  relation: events
  columns: [event_time, {name: country, expression: NO}]
  time_column: event_time
  order_by: [country]
  schedule: hourly
  destination: exports/norway
"""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("NO", "NO"), ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("False", False),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"), ("1_000", "1_000"), ("010", "010"), ("0x10", 16), ("0o10", "0o10"),
        ("-7", -7), ("0", 0),
        ("1.50", 1.5), ("1.5e+3", 1500.0), ("1e3", "1e3"),
        (".inf", float("inf")), ("1.2.3", "1.2.3"), ("=", "="),
        ("", None), ("~", None), ("null", None), ("'7'", "7"),
    ],
)  # fmt: skip
def test_scalars_are_what_both_versions_of_yaml_read_alike(text, meant):
    (found,) = yaml_text.load(f"[{text or '~'}]") if text else [yaml_text.load("a:")["a"]]
    assert (found, type(found)) == (meant, type(meant))


@given(st.text() | st.from_regex(r"\A[-+0-9.eExo_:~a-fNnOoYy]{1,6}\Z"))
def test_what_pyyaml_writes_is_read_as_it_was(text):
    assert yaml_text.load(yaml.safe_dump({"a": [text, 1, 0.5, True, None]})) == {
        "a": [text, 1, 0.5, True, None]
    }


def test_every_value_is_text_where_that_is_asked():
    text = "{a: NO, b: 010, c: 1.50, d: [true, ~], '1': null}"
    assert yaml_text.load_texts(text) == {
        "a": "NO", "b": "010", "c": "1.50", "d": ["true", "~"], "1": "null",
    }  # fmt: skip


@pytest.mark.parametrize("load", [yaml_text.load, yaml_text.load_texts])
@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "- x: {a: 1, a: 1}\n"])
def test_a_key_that_is_there_twice_is_refused_with_its_line(load, text):
    with pytest.raises(yaml.YAMLError, match=r"(?s)the key 'a' is there twice.*line"):
        load(text)


def test_anchors_and_merges_still_work():
    text = "base: &b {x: 1}\nmine: {<<: *b, y: 2}\n"
    assert yaml_text.load(text)["mine"] == {"x": 1, "y": 2}


def test_files_that_people_edit_say_norway(tmp_path, monkeypatch):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "countries.yaml").write_text(SUITE)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    (suite,) = suites.load_suites()
    assert suite.expectations[0]["value_set"] == ["DK", "NO", "SE"]
    (tmp_path / "event_types.yaml").write_text("- {event_type: off, description: NO}")
    monkeypatch.setattr(store, "SEEDS", tmp_path)
    assert store.seeded_event_types() == [{"event_type": "off", "description": "NO"}]
    (tmp_path / "exports.yaml").write_text(EXPORT)
    (export,) = definitions.seeded(tmp_path / "exports.yaml")
    assert export.columns[1].expression == "NO"
    inhibition = """{name: off, source: ['a="b"'], target: ['c!=""']}"""
    (tmp_path / "alerts.yaml").write_text(f"{{routes: [], rules: [], inhibitions: [{inhibition}]}}")
    (read,) = alert_rules.load_seeds(tmp_path / "alerts.yaml")[1]
    assert read.name == "off"


def test_what_is_neither_true_nor_false_is_refused(tmp_path, monkeypatch):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "countries.yaml").write_text(SUITE.replace("false", "no"))
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    assert suites.faults() == [
        "expectations/base/countries.yaml: publishes: 'no' is neither true nor false"
    ]
    (tmp_path / "exports.yaml").write_text(EXPORT.replace("NO}", "NO, is_personal: no}"))
    with pytest.raises(definitions.ExportError, match="true or false"):
        definitions.seeded(tmp_path / "exports.yaml")
