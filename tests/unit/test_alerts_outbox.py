"""How long a failed message waits, and what a message goes without."""

from __future__ import annotations

import math
from typing import Any

import pytest

from millrace.alerts.channels import email, wording
from millrace.alerts.model import Route
from millrace.alerts.outbox import LAST_RETRY_SECONDS, DeliveryError, Message, pause

ROUTE = Route("mail", "email", "smtp", {"to": "ops@example.org"})


class Mail:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_email_smtp(self, **arguments: Any) -> None:
        """Keep a mail."""
        self.sent.append(arguments)


def content(group: str) -> dict[str, Any]:
    """Return what a message without alerts says."""
    links = {"dashboard": "", "run": ""}
    return {"firing": [], "resolved": [], "group": group, "severity": "warning", "links": links}


@pytest.mark.parametrize("wish", [math.inf, math.nan, -5.0, None])
def test_a_wish_that_is_no_time_is_not_waited_for(wish: float | None) -> None:
    assert pause(DeliveryError("busy", wish), 1).total_seconds() < LAST_RETRY_SECONDS


def test_a_channels_wish_is_followed_for_an_hour_at_most() -> None:
    assert pause(DeliveryError("busy", 900.0), 1).total_seconds() == 900
    assert pause(DeliveryError("busy", 1e12), 1).total_seconds() == 3_600


def test_a_mail_goes_without_a_chart_that_cant_be_drawn() -> None:
    def fails() -> bytes:
        raise RuntimeError("no font")

    mail = Mail()
    email.send(mail, Message(1, ROUTE, "trigger", "k", content("all"), chart=fails))
    assert [sent["files"] for sent in mail.sent] == [None]


def test_a_headline_is_one_line_whatever_a_label_holds() -> None:
    said = wording.headline("trigger", content("page=/a\r\nBcc: x@example.org"))
    assert said == "trigger: page=/a Bcc: x@example.org"
