"""Slack: one message an incident, its end as a reply that the channel sees too.

Web API methods: https://docs.slack.dev/reference/methods/chat.postMessage and
https://docs.slack.dev/reference/methods/files.getUploadURLExternal (through ``files_upload_v2``).
"""

from __future__ import annotations

import logging
from typing import Any

from millrace.alerts.channels import wording
from millrace.alerts.outbox import DeliveryError, Message, wish_of

log = logging.getLogger(__name__)

EVENT_TYPE = "millrace_alert"
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
LISTED_ALERTS = 10


def escape(text: str) -> str:
    """Escape the three characters that mean something in Slack's mrkdwn."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def blocks(
    event: str, content: dict[str, Any], chart_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the message's blocks; ``chart_id`` is an uploaded file."""
    described = wording.alerts(content)
    result: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": _cut(wording.headline(event, content), HEADER_LIMIT),
            },
        }
    ]
    lines = []
    for alert in described[:LISTED_ALERTS]:
        labels = escape(wording.distinct_labels(alert))
        name = f"*{escape(alert['rule'])}*" + (f" {labels}" if labels else "")
        lines.append(f"{name}: {escape(wording.condition(alert))}")
        if description := alert["annotations"].get("description"):
            lines.append(escape(description))
    hidden = max(content["firing_count"], content["resolved_count"]) - len(
        described[:LISTED_ALERTS]
    )
    if hidden > 0:
        lines.append(f"… and {hidden} more")
    if lines:
        result.append(_section("\n".join(lines)))
    if chart_id:
        result.append(
            {
                "type": "image",
                "slack_file": {"id": chart_id},
                "alt_text": f"The last hours of {described[0]['rule']}",
            }
        )
    links = [
        f"<{address}|{name}>" if address.startswith("http") else f"{name}: `{address}`"
        for name, address in wording.links(content)
    ]
    if links:
        result.append(_section(" · ".join(links)))
    facts = {"type": "mrkdwn", "text": escape(wording.facts(content))}
    result.append({"type": "context", "elements": [facts]})
    return result


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION_LIMIT)}}


def send(client: Any, message: Message) -> dict[str, Any]:
    """Post a message with a ``slack_sdk.WebClient``; return its channel and timestamp.

    Raises ``DeliveryError`` with Slack's error and its Retry-After.
    """
    channel = message.route.config["channel"]
    if message.is_repeated_attempt and (found := _arrived(client, channel, message)):
        return found
    chart_id = _upload_chart(client, message)
    try:
        return _post(client, channel, message, chart_id)
    except DeliveryError as error:
        if chart_id is None or "invalid_blocks" not in str(error):
            raise
        # Slack may not have the file ready yet: the words matter more than the picture.
        return _post(client, channel, message, None)


def _post(client: Any, channel: str, message: Message, chart_id: str | None) -> dict[str, Any]:
    content = message.content
    is_over = message.event == "resolve"
    body: dict[str, Any] = {
        "channel": (message.thread or {}).get("channel", channel),
        "text": escape(wording.headline(message.event, content)),
        "attachments": [
            {
                "color": wording.colour(message.event, content),
                "blocks": blocks(message.event, content, chart_id),
                "fallback": escape(wording.headline(message.event, content)),
            }
        ],
        "metadata": {
            "event_type": EVENT_TYPE,
            "event_payload": {
                "notification_id": message.notification_id,
                "dedup_key": message.dedup_key,
            },
        },
        "unfurl_links": False,
    }
    if message.thread:
        body["thread_ts"] = message.thread["ts"]
        body["reply_broadcast"] = is_over
    answer = _call(client.chat_postMessage, **body)
    return {"channel": answer["channel"], "ts": answer["ts"]}


def _call(method: Any, **arguments: Any) -> Any:
    try:
        return method(**arguments)
    except Exception as error:
        response = getattr(error, "response", None)
        # A proxy's page in place of Slack's answer has neither this form nor these headers.
        said = getattr(response, "data", None)
        reason = said["error"] if isinstance(said, dict) and "error" in said else error
        raise DeliveryError(
            f"Slack: {reason}", wish_of(getattr(response, "headers", None))
        ) from error


def _upload_chart(client: Any, message: Message) -> str | None:
    """Upload the chart; a message without it is better than none."""
    picture = message.picture()
    if picture is None:
        return None
    try:
        answer = client.files_upload_v2(
            file=picture, filename=f"{message.dedup_key}.png", title="The last hours"
        )
        return str(answer["file"]["id"])
    except Exception as error:  # noqa: BLE001  a picture is never worth a message
        log.warning("the message goes without its chart: %s", error)
        return None


def _arrived(client: Any, channel: str, message: Message) -> dict[str, Any] | None:
    """Return the receipt of an earlier attempt that arrived although its answer did not.

    Needs the scope ``channels:history``; without it the message may come twice after a broken
    connection.
    """
    place = (message.thread or {}).get("channel", channel)
    try:
        answer = client.conversations_history(channel=place, include_all_metadata=True, limit=100)
    except Exception as error:  # noqa: BLE001  what can't be seen is sent again
        log.warning("cannot see whether an earlier attempt arrived: %s", error)
        return None
    for found in answer.get("messages", []):
        metadata = found.get("metadata") or {}
        payload = metadata.get("event_payload") or {}
        if (
            metadata.get("event_type") == EVENT_TYPE
            and payload.get("notification_id") == message.notification_id
            and payload.get("dedup_key") == message.dedup_key
        ):
            return {"channel": place, "ts": found["ts"]}
    return None
