"""Alert channels through Airflow's connections: one sender per kind of route."""

from __future__ import annotations

from typing import Any

from millrace.alerts.channels import email, pagerduty, slack, webhook
from millrace.alerts.outbox import Message, Sender

TIMEOUT_SECONDS = 10


def senders() -> dict[str, Sender]:
    """Return the senders by kind of route."""
    return {
        "slack": send_to_slack,
        "pagerduty": send_to_pagerduty,
        "webhook": send_to_webhook,
        "email": send_email,
    }


def send_to_slack(message: Message) -> dict[str, Any]:
    """Send with the Slack provider's hook (connection type Slack API, token in the password)."""
    return slack.send(slack_client(message.route.connection_id), message)


def slack_client(connection_id: str) -> Any:
    """Return a ``slack_sdk.WebClient`` of a connection."""
    from airflow.providers.slack.hooks.slack import SlackHook

    # Retries are the outbox's: an own one here could post a message twice.
    hook = SlackHook(slack_conn_id=connection_id, timeout=TIMEOUT_SECONDS, retry_handlers=[])
    return hook.client


def send_to_pagerduty(message: Message) -> dict[str, Any]:
    """Send with the PagerDuty provider's connection (integration key in the password).

    The connection's extra may name another ``base_url`` (such as PagerDuty's EU region).
    """
    from airflow.providers.pagerduty.hooks.pagerduty_events import PagerdutyEventsHook
    from pagerduty import EventsApiV2Client, HttpError

    connection_id = message.route.connection_id
    hook = PagerdutyEventsHook(pagerduty_events_conn_id=connection_id)
    base_url = hook.get_connection(connection_id).extra_dejson.get("base_url")

    class Client(EventsApiV2Client):
        """A client that hands a rate limit on: its own waiting would block other messages."""

        timeout = TIMEOUT_SECONDS
        max_network_attempts = 0

        def normalize_url(self, url: str) -> str:
            """Join base and path; the library's own refuses a relay on loopback without TLS."""
            return f"{(base_url or self.url).rstrip('/')}{url}"

        def postprocess(self, response: Any) -> None:
            """Raise for a rate limit, with the response that says how long it lasts."""
            if response.status_code == 429:
                raise HttpError("rate limit reached (429)", response)

    client = Client(hook.integration_key)
    client.retry = {}
    return pagerduty.send(client, message)


def send_to_webhook(message: Message) -> dict[str, Any]:
    """Post to an HTTP connection."""
    path = message.route.config.get("path", "")
    return webhook.send(*address_and_headers(message.route.connection_id, path), message)


def address_and_headers(connection_id: str, path: str) -> tuple[str, dict[str, str]]:
    """Return an HTTP connection's URL, and its extra as headers, its password as bearer token."""
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(connection_id)
    host = connection.host or ""
    base = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    if connection.port:
        base = f"{base}:{connection.port}"
    headers = {str(name): str(value) for name, value in connection.extra_dejson.items()}
    if connection.password:
        headers["Authorization"] = f"Bearer {connection.password}"
    return f"{base}{path}", headers


def send_email(message: Message) -> dict[str, Any]:
    """Send with the SMTP provider's hook."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(smtp_conn_id=message.route.connection_id) as hook:
        return email.send(hook, message)
