"""The texts of the built-in alerts, in every state that an alert can be told in."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.alerts import templates
from millrace.alerts.channels import wording
from millrace.alerts.content import Writer
from millrace.alerts.grouping import Group, Notification
from millrace.alerts.model import Instance, Rule
from millrace.settings import REPOSITORY, Settings

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BUILT_IN = yaml.safe_load((REPOSITORY / "include/seeds/alert_rules.yaml").read_text())["rules"]
NOUNS = "event|message|window|time|failure|view|incident"
VALUES = [None, 0.0, 1.0, 0.25, 2_000.0, 12_345_678.0, math.inf, -math.inf, math.nan]
WRONG = re.compile(rf"None|\bnan\b|\binf\b|\{{\{{|could not be made|(?<![.,\d])1 ({NOUNS})s\b")


class Series:
    """Answers what an alert was compared with: the one number, or nothing."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold

    def rows(self, *_: Any) -> list[tuple[Any, ...]]:
        """Return one series without labels, or none."""
        return [] if self.threshold is None else [(0, -1, {}, self.threshold)]


def rule_of(entry: dict[str, Any]) -> Rule:
    return Rule(
        entry["name"],
        entry["expression"],
        entry["severity"],
        entry.get("owner", "data-engineering"),
        entry["runbook"],
        entry.get("routes", ["slack"]),
        annotations=entry["annotations"],
        no_data=entry.get("no_data", "alert"),
    )


def labels_of(rule: Rule) -> dict[str, str]:
    """Return the labels that a rule's texts speak of."""
    named = re.findall(r"labels\.(\w+)", " ".join(rule.annotations.values()))
    return dict.fromkeys(named, "x")


def told_by(
    rule: Rule, instance: Instance, event: Any, threshold: float | None, settings: Settings
) -> list[str]:
    """Return each text that a notification of one alert holds."""
    group = Group("slack", {"alertname": rule.name}, AT, AT)
    alerts = (instance,)
    firing, resolved = ((), alerts) if event == "resolve" else (alerts, ())
    writer = Writer(settings, {rule.name: rule}, Series(threshold), "http://run")  # type: ignore[arg-type]
    content = writer(Notification("slack", group, event, AT, firing, resolved))
    (told,) = content["firing"] or content["resolved"]
    said = [wording.headline(event, content), wording.facts(content), wording.condition(told)]
    return [*said, *told["annotations"].values()]


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: str(entry["name"]))
@pytest.mark.parametrize("event", ["trigger", "repeat", "resolve"])
def test_texts_can_be_read_in_every_state(
    entry: dict[str, Any], event: str, tmp_path: Path
) -> None:
    rule, settings = rule_of(entry), Settings(home=tmp_path)
    wrong = []
    for threshold in VALUES:
        for value in VALUES:
            labels = rule.alert_labels(labels_of(rule), "condition")
            one = Instance(rule.name, "condition", labels, "firing", AT, AT, value)
            wrong += [t for t in told_by(rule, one, event, threshold, settings) if WRONG.search(t)]
    if rule.no_data == "alert":
        labels = rule.alert_labels({}, "no_data")
        one = Instance(rule.name, "no_data", labels, "firing", AT, AT, None)
        wrong += [text for text in told_by(rule, one, event, None, settings) if WRONG.search(text)]
    assert wrong == []


def test_what_is_computed_from_no_value_is_none() -> None:
    def made(text: str, value: float | None = None) -> str:
        return templates.render(text, rule="r", labels={}, value=value, threshold=None)

    assert made("{{ (threshold / 0.8) | humanize }}") == "no value"
    assert made("{{ threshold }} {{ 'set' if threshold else 'unset' }}") == "no value unset"
    assert made("{{ 1 / value }}", 0.0).startswith("r (its text could not be made")
    assert made("{{ value | count('event') }}", 1.0) == "1 event"
    assert made("{{ value | count('event') }}", 2_000.0) == "2,000 events"


@pytest.mark.parametrize(
    ("unit", "one"),
    [("events a minute", "event a minute"), ("windows", "window"), ("ms", "ms"), ("EUR", "EUR")],
)
def test_a_unit_of_one(unit: str, one: str) -> None:
    assert templates.of_one(unit) == one
