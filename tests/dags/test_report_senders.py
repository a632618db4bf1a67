"""The senders that `send_reports` uses: Airflow's connections in, the page and its numbers out."""

from __future__ import annotations

import email
import json
import socketserver
import sys
import threading
from pathlib import Path

import pytest
from tests.dags.test_alerts_senders import Mailbox

from millrace.lab.channels import serving
from millrace.reports.page import Summary
from millrace.reports.sending import Made, Sender, SendingError

MADE = Made(
    "abc", "weekly", "The <week>", "http://s3.example.com/weekly.html", "<!doctype html><p>42",
    [Summary("Views & more", "42, +5.0%")],
)  # fmt: skip


@pytest.fixture
def senders(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Sender]:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    for name in ("millrace_alert_senders", "millrace_report_senders"):
        sys.modules.pop(name, None)
    from millrace_report_senders import senders as made

    found: dict[str, Sender] = made()
    return found


def connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, object]) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CHANNEL", json.dumps(connection))


def test_slack_gets_the_numbers_and_the_page_as_a_file(
    senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as channels:
        url = f"{channels.address}/slack/"
        connect(
            monkeypatch,
            {"conn_type": "slack", "password": "xoxb-1", "extra": {"base_url": url}},
        )
        receipt = senders["slack"]("channel", {"channel": "#numbers"}, MADE)
        assert not channels.refused
    (message,) = channels.slack_messages
    assert receipt == {"channel": "C123", "ts": message["ts"]}
    assert "Views &amp; more: *42, +5.0%*" in json.dumps(message)
    assert [content.decode() for content in channels.slack_files.values()] == [MADE.page]


def test_a_webhook_gets_the_page_with_a_key_that_tells_a_repeated_attempt(
    senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as channels:
        connect(monkeypatch, {"conn_type": "http", "host": channels.address, "password": "secret"})
        assert senders["webhook"]("channel", {}, MADE) == {"status": 200}
        ((headers, body),) = channels.webhooks
        channels.fail("webhook", "500")
        with pytest.raises(SendingError, match="status 500"):
            senders["webhook"]("channel", {}, MADE)
    assert (headers["Idempotency-Key"], headers["Authorization"]) == ("abc", "Bearer secret")
    assert (body["report"], body["html"]) == ("weekly", MADE.page)
    assert body["summary"] == [{"title": "Views & more", "text": "42, +5.0%"}]


def test_a_mail_has_the_numbers_as_text_and_the_page_attached(
    senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"disable_tls": True, "disable_ssl": True, "from_email": "m@example.com"}
        port = server.server_address[1]
        connect(
            monkeypatch,
            {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra},
        )
        senders["email"]("channel", {"to": "team@example.com"}, MADE)
        server.shutdown()
        mail = email.message_from_bytes(server.taken[0])  # type: ignore[attr-defined]
    assert mail["Subject"] == "The <week>"
    parts = {part.get_filename(): part.get_payload(decode=True) for part in mail.walk()}
    assert parts["weekly.html"] == MADE.page.encode()
    assert b"Views &amp; more" in parts[None]
