"""The forms in which a report goes out: e-mail, Slack, a webhook.

The clients come connected, so that connections and secrets stay where they are kept.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

import httpx

from millrace.reports.page import Summary

log = logging.getLogger(__name__)

WEBHOOK_SECONDS = 10.0


class SendingError(Exception):
    """A channel did not take a report; the message has its answer."""


@dataclass(frozen=True)
class Made:
    """A report that was made.

    Args:
        key: What tells this making from every other, also for who gets it twice.
        link: Where it can be read for a while, by whoever has the link.
        page: The HTML.
    """

    key: str
    name: str
    title: str
    link: str
    page: str
    summary: Sequence[Summary]

    @property
    def file_name(self) -> str:
        """What it is called as a file."""
        return f"{self.name}.html"


class Sender(Protocol):
    """Sends a report over a connection; returns a receipt as JSON can hold it.

    ``config`` is the route's. Raises ``SendingError``; other errors count as one, too.
    """

    def __call__(self, connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
        """Send a report."""


def by_email(hook: Any, config: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Send the page as a file, and its numbers as the text, through Airflow's ``SmtpHook``."""
    rows = "".join(
        f"<tr><td style='padding:2px 12px 2px 0'>{escape(line.title)}</td>"
        f"<td><b>{escape(line.text)}</b></td></tr>"
        for line in made.summary
    )
    text = (
        f"<div style='font-family:sans-serif;color:#1f2933'><h2>{escape(made.title)}</h2>"
        f"<table>{rows}</table><p>The report is attached, and for a day "
        f'<a href="{escape(made.link)}">at its address</a>.</p></div>'
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / made.file_name
        file.write_text(made.page, encoding="utf-8")
        try:
            hook.send_email_smtp(
                to=config["to"],
                subject=" ".join(made.title.split())[:180],
                html_content=text,
                files=[str(file)],
                custom_headers={"Message-ID": f"<{made.key}@millrace>"},
            )
        except Exception as error:
            raise SendingError(f"mail: {type(error).__name__} {error}") from error
    return {"to": config["to"]}


def to_slack(client: Any, config: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Post the numbers with a ``slack_sdk.WebClient``, and the page as a file in the thread.

    A page that Slack does not take fails nothing: the message has its link, and another try would
    send the message again.
    """
    lines = [f"{_mrkdwn(line.title)}: *{_mrkdwn(line.text)}*" for line in made.summary]
    title = f"<{made.link}|{_mrkdwn(made.title)}>"
    try:
        answer = client.chat_postMessage(
            channel=config["channel"],
            text=_mrkdwn(made.title),
            blocks=[
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": "\n".join([title, *lines])[:3000]},
                }
            ],
            unfurl_links=False,
        )
    except Exception as error:
        raise SendingError(f"Slack: {error}") from error
    receipt = {"channel": answer["channel"], "ts": answer["ts"]}
    try:
        client.files_upload_v2(
            channel=answer["channel"],
            thread_ts=answer["ts"],
            content=made.page,
            filename=made.file_name,
            title=made.title,
        )
    except Exception as error:  # noqa: BLE001  whatever it is, the message has arrived
        log.warning("Slack has the message of %s without its page: %s", made.name, error)
        receipt["page"] = f"not taken: {str(error)[:300]}"
    return receipt


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_webhook(url: str, headers: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Post the report as JSON."""
    document = {
        "version": 1,
        "report": made.name,
        "title": made.title,
        "link": made.link,
        "summary": [{"title": line.title, "text": line.text} for line in made.summary],
        "html": made.page,
    }
    try:
        answer = httpx.post(
            url,
            json=document,
            headers={**headers, "Idempotency-Key": made.key},
            timeout=WEBHOOK_SECONDS,
        )
    except httpx.HTTPError as error:
        raise SendingError(f"webhook: {type(error).__name__} {error}") from error
    if not answer.is_success:
        raise SendingError(f"webhook: status {answer.status_code}")
    return {"status": answer.status_code}
