"""E-mail: plain words as HTML, with the chart attached."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import Any

from millrace.alerts.channels import wording
from millrace.alerts.outbox import DeliveryError, Message


def body(message: Message) -> str:
    """Return the message as HTML."""
    content = message.content
    rows = "".join(
        "<tr>"
        f"<td><b>{escape(alert['rule'])}</b> {escape(wording.distinct_labels(alert))}</td>"
        f"<td>{escape(wording.condition(alert))}</td>"
        f"<td>{escape(alert['annotations'].get('description', ''))}</td>"
        "</tr>"
        for alert in wording.alerts(content)
    )
    described = wording.alerts(content)
    named = [("Dashboard", content["links"]["dashboard"]), ("Run", content["links"]["run"])]
    if described:
        named.append(("Runbook", described[0]["runbook"]))
    links = " · ".join(
        f'<a href="{escape(address)}">{name}</a>'
        if address.startswith("http")
        else f"{name}: {escape(address)}"
        for name, address in named
        if address
    )
    headline = escape(wording.headline(message.event, content))
    return f"<h3>{headline}</h3><table cellpadding='6'>{rows}</table><p>{links}</p>"


def send(hook: Any, message: Message) -> dict[str, Any]:
    """Send through Airflow's ``SmtpHook``, or anything with its ``send_email_smtp``.

    Raises ``DeliveryError`` with the mail server's answer.
    """
    picture = message.chart() if message.event in ("trigger", "update") else None
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
