"""Our tracker for the web where the browser, the API or the page itself misbehaves.

Nothing that it is given may throw into the page, and what can be kept is.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.conformance.tracker_bed import api_of_script, as_they_happened, events, wait_for
from tests.helpers.browser import Browser, Page
from tests.helpers.proxy import Proxy, Reply, Sent

from millrace import waiting

WATCH = """
window.wrong = [];
addEventListener("error", (e) => wrong.push(String(e.message)));
addEventListener("unhandledrejection", (e) => wrong.push(String(e.reason)));
"""
FORBIDDEN = """
const refuse = () => { throw new DOMException("denied", "SecurityError"); };
Object.defineProperty(window, "localStorage", { get: refuse });
navigator.locks.request = async () => refuse();
"""
ABSENT = """
Object.defineProperty(window, "localStorage", { value: null });
Object.defineProperty(navigator, "locks", { value: undefined });
"""
FULL = """
Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
"""
HASTE = """
const later = setTimeout;
window.setTimeout = (work, wait) => later(work, wait === 30000 ? 100 : wait);
"""
LISTENING = """
window.said = [];
console.error = (...all) => said.push(all.join(" "));
"""
GUARDED = """
Object.defineProperty(history, "pushState", { get() { throw new Error("not yours"); } });
"""
QUIET = "data-pages=off"


def watched(chromium: Browser, *scripts: str) -> Page:
    """Open a page that notes what goes wrong in it."""
    return chromium.open(WATCH + "".join(scripts))


@pytest.mark.parametrize("what", [FORBIDDEN, ABSENT, FULL], ids=["forbidden", "absent", "full"])
def test_a_browser_that_keeps_nothing(
    api: Proxy, shop: Proxy, chromium: Browser, what: str
) -> None:
    page = watched(chromium, what)
    page.goto(f"{shop.url}/one")
    page.run("millrace.identify(41); millrace.identify(42); history.pushState(null, '', '/two')")
    came = wait_for(api, 2)
    assert [event["page"] for event in came] == ["/one", "/two"]
    assert came[1]["user_id"] == 42
    assert len({event["session_id"] for event in came}) == 1
    assert page.run("wrong") == []
    chromium.close(page)


def test_what_only_the_page_holds_goes_when_it_is_left(
    api: Proxy, shop: Proxy, chromium: Browser
) -> None:
    page = watched(chromium, FORBIDDEN)
    page.goto(f"{shop.url}/?{QUIET}&data-wait=3600000")
    api.replies = [Reply(503, headers={"Retry-After": "300"})]
    page.run("millrace.track('held', {n: 1}); millrace.flush()")
    page.run("millrace.track('held', {n: 2})")
    page.goto("about:blank")
    assert sorted(event["n"] for event in wait_for(api, 2)) == [1, 2]
    chromium.close(page)


def test_who_is_known_anew_stays_so_where_storage_is_full(
    api: Proxy, shop: Proxy, chromium: Browser
) -> None:
    page = watched(chromium)
    page.goto(f"{shop.url}/?{QUIET}")
    page.run("millrace.identify(41)")
    page.run(FULL + "millrace.identify(42); millrace.track('own')")
    (own,) = wait_for(api, 1)
    assert own["user_id"] == 42
    page.goto(f"{shop.url}/?{QUIET}")  # knows neither: 41 would be wrong
    page.run("millrace.track('later')")
    assert wait_for(api, 2)[1]["user_id"] >= 2**52
    chromium.close(page)


LEFT = {
    "user": ["{", "", "undefined", "[1]", "{}", "null", "true"],
    "anonymous": ["NaN", "-3", "12", "1.5", "1e400", "{}"],
    "session": ["", "x", "x y z", "a 9e99"],
    "consent": ["perhaps"],
    "event.0": ["", "{", "null", "7", '"text"', "[1]", "undefined"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in LEFT.items() for text in texts]
)
def test_what_others_left_in_storage_is_passed_over(
    api: Proxy, shop: Proxy, chromium: Browser, name: str, text: str
) -> None:
    page = watched(chromium)
    page.goto(f"{shop.url}/?{QUIET}")
    page.run("for (let n = 0; n < 2; n++) millrace.track('before', {n})")
    page.run(f"localStorage.setItem('millrace.{name}', {json.dumps(text)})")
    page.goto(f"{shop.url}/?{QUIET}")
    page.run("millrace.track('after', {n: 2})")
    came = as_they_happened(wait_for(api, 3))
    assert [event["n"] for event in came] == [0, 1, 2]
    after = came[2]
    assert 2**52 <= after["user_id"] < 2**53
    assert after["anonymous_id"] == str(after["user_id"])
    assert "original_user_id" not in after
    assert page.run("wrong") == []
    left = "Object.keys(localStorage).filter((name) => name.includes('.event.')).length"
    waiting.until(lambda: page.run(left) == 0, "an empty queue", seconds=60)
    chromium.close(page)


def test_an_answer_that_does_not_come_is_given_up(
    api: Proxy, shop: Proxy, chromium: Browser
) -> None:
    never = threading.Event()

    def judge(sent: Sent) -> Reply:
        if sent.method == "POST" and len(api.posts("/v1/events")) == 1:
            never.wait(60)
        return api_of_script(sent)

    api.judge = judge
    page = watched(chromium, HASTE)
    page.goto(f"{shop.url}/?{QUIET}")
    page.run("millrace.track('patient')")
    assert [event["event"] for event in wait_for(api, 1)] == ["patient"]
    first, second = api.posts("/v1/events")
    assert first.body == second.body
    never.set()
    assert page.run("wrong") == []
    chromium.close(page)


@pytest.mark.parametrize(
    "document",
    [None, 7, [], {"count": "1"}, {"count": None, "rejected": 3}],
    ids=["none", "number", "list", "text", "null"],
)
def test_an_answer_that_is_not_the_apis_acknowledges_nothing(
    api: Proxy, shop: Proxy, chromium: Browser, document: Any
) -> None:
    page = watched(chromium)
    page.goto(f"{shop.url}/?{QUIET}")
    api.replies = [Reply(200, document, headers={"Retry-After": "-5"})]
    page.run("millrace.track('again')")
    waiting.until(lambda: len(api.posts("/v1/events")) == 2, "the second try", seconds=30)
    assert [event["event"] for event in events(api)][:1] == ["again"]
    assert page.run("wrong") == []
    chromium.close(page)


def test_what_json_cannot_hold_is_left_out(api: Proxy, shop: Proxy, chromium: Browser) -> None:
    page = watched(chromium)
    page.goto(f"{shop.url}/?{QUIET}")
    page.run("const circle = {}; circle.own = circle; millrace.track('a', {circle, kept: 1})")
    page.run("millrace.track('b', {large: 10n, none: undefined, kept: 2})")
    page.run("millrace.track('c', {get own() { throw new Error('a getter') }})")
    page.run("for (const id of [undefined, {}, [1], true, 5n, NaN]) millrace.identify(id)")
    page.run("millrace.track('d', null); millrace.track('e', 'text')")
    came = {event["event"]: event for event in wait_for(api, 4)}
    assert came["a"]["kept"] == 1
    assert came["b"]["kept"] == 2
    assert not {"circle", "large", "none"} & (came["a"].keys() | came["b"].keys())
    assert {event["user_id"] for event in came.values()} == {came["a"]["user_id"]}
    assert "original_user_id" not in came["d"]
    assert page.run("wrong") == []
    chromium.close(page)


def test_a_tag_that_names_no_api_sends_nothing_and_says_so(
    api: Proxy, shop: Proxy, chromium: Browser
) -> None:
    page = watched(chromium, LISTENING)
    page.goto(f"{shop.url}/?data-url=events.example.com")
    page.run("millrace.identify(41); millrace.track('own'); millrace.flush()")
    assert page.run("said.length") == 1
    assert "url must begin with" in page.run("said[0]")
    assert page.run("wrong") == []
    assert page.run("Object.keys(localStorage)") == []
    assert not [sent for sent in [*api.sent, *shop.sent] if sent.method == "POST"]
    chromium.close(page)


def test_a_page_whose_history_is_guarded_is_tracked_by_hand(
    api: Proxy, shop: Proxy, chromium: Browser
) -> None:
    page = watched(chromium, GUARDED)
    page.goto(f"{shop.url}/one")
    page.run("millrace.track('own')")
    assert [event["event"] for event in wait_for(api, 1)] == ["own"]
    assert page.run("wrong") == []
    chromium.close(page)
