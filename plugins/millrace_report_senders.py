"""Reports through Airflow's connections: one sender per kind of route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.reports import sending
from millrace.reports.sending import Made, Sender
from millrace_alert_senders import address_and_headers, slack_client


def senders() -> dict[str, Sender]:
    """Return the senders by kind of route."""
    return {"slack": to_slack, "email": by_email, "webhook": to_webhook}


def to_slack(connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Post with the Slack provider's hook."""
    return sending.to_slack(slack_client(connection_id), config, made)


def by_email(connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Send with the SMTP provider's hook."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(smtp_conn_id=connection_id) as hook:
        return sending.by_email(hook, config, made)


def to_webhook(connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
    """Post to an HTTP connection."""
    address, headers = address_and_headers(connection_id, config.get("path", ""))
    return sending.to_webhook(address, headers, made)
