"""Sends events with a client of others, as its documentation says, once for each case.

Runs in the Python of tests/conformance/requirements.txt: ``send.py CLIENT``. Reads cases as JSON
from standard input, ``{case: {"url", "key", "events": [{"name", "user", "mark"}]}}``, all of them
at once; ends when the client has delivered, or given up, each.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 45.0
"""Seconds for which a client may try."""


def segment(url: str, key: str, events: list[dict[str, str]]) -> None:
    from segment.analytics.client import Client

    client = Client(key, host=url)
    for event in events:
        client.track(event["user"], event["name"], {"mark": event["mark"]})
    client.shutdown()


def rudder(url: str, key: str, events: list[dict[str, str]]) -> None:
    from rudderstack.analytics.client import Client

    client = Client(key, host=url)
    for event in events:
        client.track(event["user"], event["name"], {"mark": event["mark"]})
    client.shutdown()


def posthog_v0(url: str, key: str, events: list[dict[str, str]], **options: Any) -> None:
    from posthog import Posthog

    client = Posthog(key, host=url, **options)
    for event in events:
        client.capture(event["name"], distinct_id=event["user"], properties={"mark": event["mark"]})
    client.shutdown()


def posthog_v1(url: str, key: str, events: list[dict[str, str]]) -> None:
    posthog_v0(url, key, events, capture_mode="v1")


def amplitude(url: str, key: str, events: list[dict[str, str]]) -> None:
    from amplitude import Amplitude, BaseEvent, Config

    done = threading.Semaphore(0)
    config = Config(api_key=key, server_url=f"{url}/2/httpapi", callback=lambda *_: done.release())
    client = Amplitude(key, config)
    for event in events:
        client.track(
            BaseEvent(event["name"], event["user"], event_properties={"mark": event["mark"]})
        )
    client.flush()
    end = time.monotonic() + PATIENCE
    for _ in events:
        done.acquire(timeout=max(0.0, end - time.monotonic()))
    client.shutdown()


def mixpanel(url: str, key: str, events: list[dict[str, str]]) -> None:
    from mixpanel import BufferedConsumer, Mixpanel, MixpanelException

    consumer = BufferedConsumer(events_url=f"{url}/track")
    client = Mixpanel(key, consumer)
    for event in events:
        client.track(event["user"], event["name"], {"mark": event["mark"]})
    try:
        consumer.flush()
    except MixpanelException as error:
        sys.stderr.write(f"{error}\n")


def snowplow(url: str, key: str, events: list[dict[str, str]]) -> None:
    from snowplow_tracker import Emitter, StructuredEvent, Subject, Tracker

    address = urlsplit(url)
    emitter = Emitter(address.hostname, protocol="http", port=address.port, batch_size=len(events))
    tracker = Tracker("conformance", emitter, app_id=key, encode_base64=False)
    for event in events:
        subject = Subject().set_user_id(event["user"])
        tracker.track(
            StructuredEvent("shop", event["name"], label=event["mark"], event_subject=subject)
        )
    tracker.flush()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:  # it tries again on a timer, which ends with this process
        with emitter.lock:  # held while a request is under way
            if not emitter.event_store.size():
                break
        time.sleep(0.05)
    emitter.retry_timer.cancel()


def cloudevents(url: str, key: str, events: list[dict[str, str]]) -> None:
    from cloudevents.core.bindings.http import to_binary_event, to_structured_event
    from cloudevents.core.v1.event import CloudEvent

    address = urlsplit(url)
    for n, event in enumerate(events):
        made = CloudEvent(
            {
                "id": f"{event['mark']}-{n}",
                "source": "/shop",
                "type": event["name"],
                "specversion": "1.0",
                "subject": event["user"],
                "time": datetime.now(UTC),
                "datacontenttype": "application/json",
            },
            {"mark": event["mark"]},
        )
        message = (to_binary_event, to_structured_event)[n % 2](made)
        headers = {**message.headers, "Authorization": f"Bearer {key}"}
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)
        connection.request("POST", "/v1/events", message.body, headers)
        connection.getresponse().read()
        connection.close()


def main() -> None:
    send = globals()[sys.argv[1]]
    threads = [
        threading.Thread(target=send, args=(case["url"], case["key"], case["events"]))
        for case in json.load(sys.stdin).values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
