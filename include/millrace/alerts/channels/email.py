"""E-mail: plain words as HTML, with the chart attached."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import Any

from millrace.alerts.channels import wording
from millrace.alerts.outbox import DeliveryError, Message

PAGE = """\
<div style="font-family: sans-serif; max-width: 640px; border-left: 5px solid {colour};
padding: 2px 18px; color: #24292f">
<h2 style="font-size: 18px; margin: 8px 0">{headline}</h2>
{alerts}
<p>{links}</p>
<p style="color: #6e7781; font-size: 12px">{facts}</p>
</div>
"""


def body(message: Message) -> str:
    """Return the message as HTML."""
    content = message.content
    return PAGE.format(
        colour=wording.colour(message.event, content),
        headline=escape(wording.headline(message.event, content)),
        alerts="\n".join(_paragraph(alert) for alert in wording.alerts(content)),
        links=" · ".join(
            f'<a href="{escape(address)}">{name}</a>'
            if address.startswith("http")
            else f"{name}: {escape(address)}"
            for name, address in wording.links(content)
        ),
        facts=escape(wording.facts(content)),
    )


def _paragraph(alert: dict[str, Any]) -> str:
    labels = escape(wording.distinct_labels(alert))
    description = escape(alert["annotations"].get("description", ""))
    return (
        f"<p><b>{escape(alert['rule'])}</b> {labels}: <b>{escape(wording.condition(alert))}</b>"
        f"{'<br>' if description else ''}{description}</p>"
    )


def send(hook: Any, message: Message) -> dict[str, Any]:
    """Send through Airflow's ``SmtpHook``, or anything with its ``send_email_smtp``.

    Raises ``DeliveryError`` with the mail server's answer.
    """
    picture = message.picture()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        if picture is not None:
            chart = Path(folder) / "chart.png"
            chart.write_bytes(picture)
            files.append(str(chart))
        try:
            hook.send_email_smtp(
                to=message.route.config["to"],
                subject=f"[{message.content['severity']}] "
                + wording.headline(message.event, message.content)[:180],
                html_content=body(message),
                files=files or None,
                custom_headers={
                    "Message-ID": f"<millrace-{message.notification_id}@millrace>",
                    "References": f"<{message.dedup_key}@millrace>",
                },
            )
        except Exception as error:
            raise DeliveryError(f"mail: {type(error).__name__} {error}") from error
    return {"to": message.route.config["to"]}
