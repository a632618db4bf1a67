"""A processing rule as stored in ``processing_rules``, and the checking of its config."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from millrace.contract.errors import RuleError
from millrace.stores import postgres

SCHEMA_FILE = Path(__file__).with_name("processing_rule.schema.json")

LARGEST = sys.float_info.max
MOST_PRIORITY = 2**31 - 1

KEY_OF_TYPE = {"validation": "check", "transformation": "transform", "aggregation": "aggregate"}
"""The key of a config that names what the rule does, by the rule's type."""


@dataclass(frozen=True)
class Rule:
    """One row of ``processing_rules``."""

    name: str
    rule_type: str
    config: dict[str, Any]
    source_id: str | None = None
    event_type: str | None = None
    mode: str = "enforce"
    priority: int = 100
    version: int = field(default=1)

    @property
    def kind(self) -> str:
        """What the rule does: ``range``, ``mask``, ``sum`` and so on."""
        return str(self.config[KEY_OF_TYPE[self.rule_type]])

    def as_document(self) -> dict[str, Any]:
        """Return the rule as a person writes it, without what it has by default."""
        own = {key: value for key, value in asdict(self).items() if key != "version"}
        return {key: value for key, value in own.items() if value is not None}

    def as_json(self) -> dict[str, Any]:
        """Return the rule as it is kept beside the gate that was made of it."""
        return asdict(self)


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return schema


def _branches(key: str) -> dict[str, dict[str, Any]]:
    """Return the schema's branches that have ``key``, by the value it must have."""
    found: dict[str, dict[str, Any]] = {}
    for branch in _schema()["oneOf"]:
        wanted = branch["properties"].get(key)
        if wanted:
            for value in wanted.get("enum", [wanted.get("const")]):
                found[value] = branch
    return found


def _unfit(value: Any, path: str) -> Iterator[str]:
    """Yield what of a value neither PostgreSQL nor ClickHouse could take, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit(key, f"{path}, a key")
            yield from _unfit(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unfit(item, f"{path}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path}: {value} is no number that a field could have"
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{path}: the number is larger than {LARGEST:.1e}"
    elif isinstance(value, str) and postgres.fit(value) != value:
        yield f"{path}: {value[:40]!r} has a NUL, or half a surrogate pair, which can't be stored"


def _check_shape(rule: Rule) -> None:
    """Refuse a rule whose columns could not be stored. Raises ``RuleError``."""
    types = {
        "name": (str,),
        "rule_type": (str,),
        "config": (dict,),
        "source_id": (str, type(None)),
        "event_type": (str, type(None)),
        "mode": (str,),
        "priority": (int,),
    }
    for column, allowed in types.items():
        value = getattr(rule, column)
        if not isinstance(value, allowed) or isinstance(value, bool):
            wanted = {str: "text", dict: "a mapping", int: "a whole number"}[allowed[0]]
            raise RuleError(f"rule {rule.name}: {column} is {value!r}, must be {wanted}")
        for fault in _unfit(value, column):
            raise RuleError(f"rule {postgres.fit(rule.name)}: {fault}")
    if abs(rule.priority) > MOST_PRIORITY:
        raise RuleError(
            f"rule {rule.name}: priority is {rule.priority}, must lie within ±{MOST_PRIORITY}"
        )


def validate(rule: Rule) -> None:
    """Check a rule's columns, and its config against the published JSON Schema.

    The branch is picked by the rule's type first, so that a message speaks of the field that is
    wrong and not of every other kind of rule. Raises ``RuleError``.
    """
    _check_shape(rule)
    if rule.rule_type not in KEY_OF_TYPE:
        raise RuleError(
            f"rule {rule.name}: rule_type is {rule.rule_type!r}, must be one of "
            f"{', '.join(KEY_OF_TYPE)}"
        )
    if rule.mode not in ("enforce", "warn", "shadow"):
        raise RuleError(f"rule {rule.name}: mode is {rule.mode!r}, must be enforce, warn or shadow")
    if rule.rule_type != "validation" and rule.mode == "warn":
        raise RuleError(f"rule {rule.name}: mode is 'warn', which is for validations only")
    key = KEY_OF_TYPE[rule.rule_type]
    branches = _branches(key)
    kind = rule.config.get(key)
    if not isinstance(kind, str) or kind not in branches:
        raise RuleError(
            f"rule {rule.name}: config.{key} is {kind!r}, must be one of {', '.join(branches)}"
        )
    branch = {"$defs": _schema()["$defs"], **branches[kind]}
    faults = [
        f"{'.'.join(['config', *(str(part) for part in error.absolute_path)])}: {error.message}"
        for error in Draft202012Validator(branch).iter_errors(rule.config)
    ]
    if faults:
        raise RuleError(f"rule {rule.name}: {'; '.join(faults)}")
    low, high = rule.config.get("min"), rule.config.get("max")
    if low is not None and high is not None and low > high:
        raise RuleError(f"rule {rule.name}: config.min is {low}, above config.max, {high}")
