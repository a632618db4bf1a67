"""A local server that speaks Slack's and PagerDuty's protocols, checks what it gets, and can fail.

The shapes are written down here from the vendors' references:
https://developer.pagerduty.com/docs/send-alert-event (Events API v2) and
https://docs.slack.dev/reference/block-kit/blocks (limits of blocks).
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import jsonschema

Fault = Literal["500", "429", "400", "hang", "cut_before", "cut_after"]

LINK = {
    "type": "object",
    "required": ["href"],
    "properties": {"href": {"type": "string", "format": "uri"}, "text": {"type": "string"}},
}
PAGERDUTY_EVENT = {
    "type": "object",
    "required": ["routing_key", "event_action"],
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string", "format": "uri"},
        "links": {"type": "array", "items": LINK},
        "images": {"type": "array"},
        "payload": {
            "type": "object",
            "required": ["summary", "severity", "source"],
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "source": {"type": "string", "minLength": 1},
                "timestamp": {"type": "string", "format": "date-time"},
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"event_action": {"const": "trigger"}}},
            "then": {"required": ["payload"]},
            "else": {"required": ["dedup_key"]},
        }
    ],
}


def _text(kind: str, limit: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "text"],
        "properties": {
            "type": {"const": kind},
            "text": {"type": "string", "minLength": 1, "maxLength": limit},
        },
    }


BLOCK = {
    "oneOf": [
        {
            "required": ["type", "text"],
            "properties": {"type": {"const": "header"}, "text": _text("plain_text", 150)},
        },
        {
            "required": ["type", "text"],
            "properties": {"type": {"const": "section"}, "text": _text("mrkdwn", 3000)},
        },
        {
            "required": ["type", "alt_text", "slack_file"],
            "properties": {
                "type": {"const": "image"},
                "alt_text": {"type": "string", "maxLength": 2000},
                "slack_file": {"type": "object", "required": ["id"]},
            },
        },
        {
            "required": ["type", "elements"],
            "properties": {
                "type": {"const": "context"},
                "elements": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 10,
                    "items": _text("mrkdwn", 3000),
                },
            },
        },
    ]
}
SLACK_MESSAGE = {
    "type": "object",
    "required": ["channel", "text"],
    "properties": {
        "channel": {"type": "string", "minLength": 1},
        "text": {"type": "string", "minLength": 1, "maxLength": 40_000},
        "thread_ts": {"type": "string", "pattern": r"^\d+\.\d+$"},
        "attachments": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {"blocks": {"type": "array", "maxItems": 50, "items": BLOCK}},
            },
        },
        "metadata": {"type": "object", "required": ["event_type", "event_payload"]},
    },
}


@dataclass
class Channels:
    """What the servers got, and how they are to fail next."""

    address: str
    slack_messages: list[dict[str, Any]] = field(default_factory=list)
    slack_files: dict[str, bytes] = field(default_factory=dict)
    pagerduty_events: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    on_arrival: Callable[[str, dict[str, Any]], None] = lambda _channel, _message: None
    """Told of each message to Slack or PagerDuty in the moment it arrives."""

    def fail(self, place: str, *faults: Fault) -> None:
        """Make the next requests to ``slack``, ``pagerduty`` or ``webhook`` fail."""
        self.faults.setdefault(place, []).extend(faults)


def _handler(channels: Channels) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place = self._place()
            waiting = channels.faults.get(place, [])
            fault = waiting.pop(0) if waiting and self._is_faulty() else None
            if fault == "hang":
                channels.released.wait(60)
                self.close_connection = True
            elif fault == "cut_before":
                self.close_connection = True
            elif fault == "429":
                self._answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "7"})
            elif fault in ("500", "400"):
                self._answer(int(fault), {"status": "failed", "message": "told to fail"})
            else:
                self._serve(body, answers=fault != "cut_after")

        def _place(self) -> str:
            if self.path.startswith("/slack"):
                return "slack"
            return "pagerduty" if self.path.startswith("/v2") else "webhook"

        def _is_faulty(self) -> bool:
            return not self.path.startswith("/slack") or "chat.postMessage" in self.path

        def _serve(self, body: bytes, *, answers: bool) -> None:
            try:
                answer = self._take(body)
            except jsonschema.ValidationError as error:
                channels.refused.append(f"{self.path}: {error.message}")
                self._answer(400, {"status": "invalid event", "message": error.message})
                return
            if answers:
                self._answer(*answer)
            else:
                self.close_connection = True

        def _take(self, body: bytes) -> tuple[int, dict[str, Any]]:
            checker = jsonschema.FormatChecker()
            if self._place() == "pagerduty":
                event = json.loads(body)
                jsonschema.validate(event, PAGERDUTY_EVENT, format_checker=checker)
                channels.pagerduty_events.append(event)
                channels.on_arrival("pagerduty", event)
                return 202, {"status": "success", "dedup_key": event["dedup_key"]}
            if self._place() == "webhook":
                channels.webhooks.append((dict(self.headers), json.loads(body)))
                return 200, {}
            return 200, self._slack(body)

        def _slack(self, body: bytes) -> dict[str, Any]:
            method = urllib.parse.urlsplit(self.path).path.rsplit("/", 1)[-1]
            if method == "upload":
                name = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["id"][0]
                channels.slack_files[name] = body
                return {"ok": True}
            if method == "files.getUploadURLExternal":
                name = f"F{len(channels.slack_files)}"
                url = f"{channels.address}/slack/upload?id={name}"
                return {"ok": True, "upload_url": url, "file_id": name}
            if method == "files.completeUploadExternal":
                return {"ok": True, "files": [{"id": name} for name in channels.slack_files]}
            if method == "conversations.history":
                return {"ok": True, "messages": channels.slack_messages}
            message = json.loads(body)
            jsonschema.validate(message, SLACK_MESSAGE)
            message["ts"] = f"17000000{len(channels.slack_messages):02}.000100"
            channels.slack_messages.append(message)
            channels.on_arrival("slack", message)
            return {"ok": True, "channel": "C123", "ts": message["ts"]}

        def _answer(
            self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
        ) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler


@contextmanager
def serving() -> Iterator[Channels]:
    """Serve every channel on one free port of loopback."""
    channels = Channels("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(channels))
    server.daemon_threads = True
    channels.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield channels
    finally:
        channels.released.set()
        server.shutdown()
        server.server_close()
