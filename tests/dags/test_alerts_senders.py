"""The senders that `check_alerts` uses: Airflow's connections in, the channels' protocols out."""

from __future__ import annotations

import email
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.alerts.model import Route
from millrace.alerts.outbox import DeliveryError, Message, Sender
from millrace.lab.channels import Channels, serving

ALERT = {
    "rule": "slow", "kind": "condition", "labels": {"alertname": "slow", "country": "US"},
    "value": 5.0, "threshold": 10.0, "operator": "<", "expression": "x < 10", "owner": "me",
    "active_since": "2024-01-01T12:00:00+00:00", "runbook": "https://runbooks.example.com/slow",
    "annotations": {"summary": "It is <slow> & late", "description": "Very."},
}  # fmt: skip
CONTENT = {
    "event": "trigger", "severity": "critical", "group": {"alertname": "slow"},
    "opened_at": "2024-01-01T12:00:00+00:00", "evaluated_at": "2024-01-01T12:00:00+00:00",
    "firing": [ALERT], "resolved": [], "firing_count": 1, "resolved_count": 0,
    "links": {"dashboard": "https://dash.example.com", "run": "https://airflow.example.com/run"},
}  # fmt: skip


def message(kind: Any, config: dict[str, str] | None = None) -> Message:
    route = Route(kind, kind, f"{kind}_alerts", config or {})
    return Message(7, route, "trigger", "millrace-abc-1", CONTENT, chart=lambda: b"\x89PNG")


@pytest.fixture
def senders(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Sender]:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    sys.modules.pop("millrace_alert_senders", None)
    from millrace_alert_senders import senders as made

    found: dict[str, Sender] = made()
    return found


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Channels]:
    with serving() as running:
        connections = {
            "slack": {"conn_type": "slack", "password": "xoxb-1",
                      "extra": {"base_url": f"{running.address}/slack/"}},
            "pagerduty": {"conn_type": "pagerduty_events", "password": "k" * 32,
                          "extra": {"base_url": running.address}},
            "webhook": {"conn_type": "http", "host": running.address, "password": "secret",
                        "extra": {"X-Team": "data"}},
        }  # fmt: skip
        for name, connection in connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}_ALERTS", json.dumps(connection))
        yield running
        assert not running.refused


def test_slack(senders: dict[str, Sender], channels: Channels) -> None:
    receipt = senders["slack"](message("slack", {"channel": "#alerts"}))
    assert receipt == {"channel": "C123", "ts": channels.slack_messages[0]["ts"]}
    text = json.dumps(channels.slack_messages[0])
    assert channels.slack_messages[0]["text"] == "It is &lt;slow&gt; &amp; late"
    assert "5 (fires when &lt; 10)" in text
    assert "<https://runbooks.example.com/slow|Runbook>" in text


def test_pagerduty(senders: dict[str, Sender], channels: Channels) -> None:
    assert senders["pagerduty"](message("pagerduty")) == {"dedup_key": "millrace-abc-1"}
    event = channels.pagerduty_events[0]
    assert event["routing_key"] == "k" * 32
    assert {link["text"] for link in event["links"]} == {"Dashboard", "Run", "Runbook"}


@pytest.mark.parametrize("kind", ["slack", "pagerduty"])
def test_a_rate_limit_is_handed_on_with_its_wish(
    senders: dict[str, Sender], channels: Channels, kind: str
) -> None:
    channels.fail(kind, "429")
    with pytest.raises(DeliveryError) as caught:
        senders[kind](message(kind, {"channel": "#alerts"}))
    assert caught.value.retry_after == 7.0


def test_webhook(senders: dict[str, Sender], channels: Channels) -> None:
    senders["webhook"](message("webhook"))
    headers, body = channels.webhooks[0]
    assert headers["Authorization"] == "Bearer secret"
    assert headers["X-Team"] == "data"
    assert headers["Idempotency-Key"] == "millrace-7"
    assert body["headline"] == "It is <slow> & late"


class Mailbox(socketserver.StreamRequestHandler):
    """Just enough of SMTP (RFC 5321) to take one message."""

    def handle(self) -> None:
        """Speak until QUIT."""
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part)
                self.server.taken.append(b"".join(lines))  # type: ignore[attr-defined]
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


def test_email(senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = {
            "conn_type": "smtp", "host": "127.0.0.1", "port": server.server_address[1],
            "extra": {"disable_tls": True, "disable_ssl": True, "from_email": "m@example.com"},
        }  # fmt: skip
        monkeypatch.setenv("AIRFLOW_CONN_EMAIL_ALERTS", json.dumps(connection))
        senders["email"](message("email", {"to": "team@example.com"}))
        server.shutdown()
        mail = email.message_from_bytes(server.taken[0])  # type: ignore[attr-defined]
    assert mail["Subject"] == "[critical] It is <slow> & late"
    kinds = [part.get_content_type() for part in mail.walk()]
    assert "text/html" in kinds
    attached = [p.get_filename() for p in mail.walk() if p.get_content_disposition()]
    assert attached == ["chart.png"]
