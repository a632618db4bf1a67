"""A report goes out once, also where half of it arrived, and a bad one stops no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace.reports import sending, store
from millrace.reports.model import ReportError
from millrace.reports.page import Summary
from millrace.reports.sending import Made, SendingError

MADE = Made("k", "weekly", "The\nweek", "http://s3/weekly.html", "<p>", [Summary("Views", "42")])


class Slack:
    """Takes messages, and files unless it refuses them."""

    def __init__(self, *, refuses: str = "") -> None:
        self.refuses = refuses
        self.messages: list[dict[str, Any]] = []

    def chat_postMessage(self, **message: Any) -> dict[str, str]:  # noqa: N802
        """Post."""
        if self.refuses == "message":
            raise RuntimeError("channel_not_found")
        self.messages.append(message)
        return {"channel": "C1", "ts": "1.0"}

    def files_upload_v2(self, **_file: Any) -> None:
        """Take a file."""
        if self.refuses == "file":
            raise RuntimeError("missing_scope")


def test_a_page_that_slack_does_not_take_is_no_reason_to_send_the_message_again() -> None:
    slack = Slack(refuses="file")
    receipt = sending.to_slack(slack, {"channel": "#numbers"}, MADE)
    assert receipt["ts"] == "1.0"
    assert "missing_scope" in receipt["page"]
    assert len(slack.messages) == 1


def test_a_message_that_slack_does_not_take_is() -> None:
    with pytest.raises(SendingError, match="channel_not_found"):
        sending.to_slack(Slack(refuses="message"), {"channel": "#numbers"}, MADE)


def test_a_title_is_one_line_of_a_mail() -> None:
    sent: list[dict[str, Any]] = []
    hook = SimpleNamespace(send_email_smtp=lambda **mail: sent.append(mail))
    sending.by_email(hook, {"to": "ana@example.com"}, MADE)
    assert sent[0]["subject"] == "The week"


def row(name: str, zone: str) -> dict[str, Any]:
    panels = [{"title": "Views", "question": {"name": "page_views"}}]
    schedule = {"every": "day", "at": "07:00", "zone": zone}
    return {
        "name": name, "title": name, "owner": "ana", "panels": panels, "schedule": schedule,
        "description": "", "recipients": [], "is_active": True,
    }  # fmt: skip


class Stored:
    """A connection that has two reports, one of them in a zone that is no more."""

    def execute(self, *_query: Any) -> Stored:
        """Ask."""
        return self

    def fetchall(self) -> list[dict[str, Any]]:
        """Return the reports' rows."""
        return [row("bad", "Mars/Base"), row("good", "Europe/Berlin")]


def test_a_report_that_cannot_be_read_stops_no_other() -> None:
    connection: Any = Stored()
    assert [report.name for report in store.every(connection)] == ["good"]
    assert store.find(connection, "good").name == "good"
    with pytest.raises(ReportError, match="Mars/Base"):
        store.find(connection, "bad")
