"""A generic webhook: the notification as JSON, with a key that tells a repeated attempt."""

from __future__ import annotations

from typing import Any

import httpx

from millrace.alerts.channels import wording
from millrace.alerts.outbox import DeliveryError, Message, wish_of

TIMEOUT_SECONDS = 10.0


def payload(message: Message) -> dict[str, Any]:
    """Return the JSON that is posted."""
    return {
        "version": 1,
        "notification_id": message.notification_id,
        "event": message.event,
        "dedup_key": message.dedup_key,
        "headline": wording.headline(message.event, message.content),
        **{name: value for name, value in message.content.items() if name != "event"},
    }


def send(url: str, headers: dict[str, str], message: Message) -> dict[str, Any]:
    """Post the payload; return the status. Raises ``DeliveryError`` unless it is 2xx."""
    key = f"millrace-{message.notification_id}"
    try:
        answer = httpx.post(
            url,
            json=payload(message),
            headers={**headers, "Idempotency-Key": key},
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise DeliveryError(f"webhook: {type(error).__name__} {error}") from error
    if not answer.is_success:
        raise DeliveryError(f"webhook: status {answer.status_code}", wish_of(answer.headers))
    return {"status": answer.status_code}
