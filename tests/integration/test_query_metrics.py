"""GET /v1/metrics and POST /v1/query: the numbers, what they are worth, and how they are given."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars
import pytest
from fastapi.testclient import TestClient
from tests.helpers import documentation
from tests.integration.numbers_bed import DAYS, ask, hours, points
from tests.integration.transform_bed import DAY, HOUR, TODAY, Bench

from millrace import waiting
from millrace.access import tokens
from millrace.api.query.app import create
from millrace.stores import postgres


def test_hours_are_counted_and_empty_ones_say_why(api: TestClient, bench: Bench) -> None:
    answer = ask(api, name="events", range=DAYS, interval="1h")
    found, truth = points(answer), hours(bench)
    assert len(found) == 72
    assert {start: value for start, value in found.items() if value} == dict(truth)
    (series,) = answer["metrics"][0]["series"]
    assert series["total"] == truth.total()
    first = series["points"][0]
    assert (first["value"], first["status"]) == (None, "no_data")
    assert answer["statistics"]["rollup"] == ["metrics_1h"]


def test_groups_filters_and_their_order(api: TestClient, bench: Bench) -> None:
    answer = ask(api, name="events", range=DAYS, group_by="country", filter="device:mobile")
    truth = Counter(event.country for event in bench.events if event.device == "mobile")
    series = answer["metrics"][0]["series"]
    assert [(one["group"]["country"], one["total"]) for one in series] == sorted(
        truth.items(), key=lambda pair: (-pair[1], pair[0])
    )


def test_pages_of_groups(api: TestClient) -> None:
    whole = ask(api, name="events", range=DAYS, group_by="event_type,country")
    seen, cursor = [], ""
    while True:
        page = ask(
            api, name="events", range=DAYS, group_by="event_type,country", limit=5, cursor=cursor
        )
        seen += [(one["group"], one["total"]) for one in page["metrics"][0]["series"]]
        if not (cursor := page["next"] or ""):
            break
    assert seen == [(one["group"], one["total"]) for one in whole["metrics"][0]["series"]]
    assert len(seen) == 12


def test_pages_of_groups_that_do_not_add_up(api: TestClient, bench: Bench) -> None:
    """Their order is that of the whole range, which no sum of the shown days gives."""
    users: dict[str, set[int]] = {}
    for one in bench.events:
        users.setdefault(one.country, set()).add(one.user_id)
    truth = sorted(users, key=lambda country: (-len(users[country]), country))
    seen: list[str] = []
    cursor = ""
    while True:
        page = ask(
            api, name="unique_users", range=DAYS, interval="1d", group_by="country", limit=1,
            cursor=cursor,
        )  # fmt: skip
        seen += [one["group"]["country"] for one in page["metrics"][0]["series"]]
        if not (cursor := page["next"] or ""):
            break
    assert seen == truth


def test_several_metrics_by_one_document(api: TestClient, bench: Bench) -> None:
    document = {
        "metrics": ["events", "page_views"],
        "range": DAYS,
        "filter": {
            "or": [
                {"dimension": "country", "value": "DE"},
                {"not": {"dimension": "device", "value": "mobile"}},
            ]
        },
    }
    answer = api.post("/v1/query", json=document)
    assert answer.status_code == 200, answer.text
    matching = [e for e in bench.events if e.country == "DE" or e.device != "mobile"]
    views = [event for event in matching if event.event_type == "page_view"]
    totals = [metric["series"][0]["total"] for metric in answer.json()["metrics"]]
    assert totals == [len(matching), len(views)]


def test_a_day_is_one_of_the_zone(api: TestClient, bench: Bench) -> None:
    answer = ask(api, name="events", range=DAYS, interval="1d", tz="Asia/Kolkata")
    shift = timedelta(hours=5, minutes=30)
    truth = Counter((event.event_time + shift).date().isoformat() for event in bench.events)
    found = {
        (datetime.fromisoformat(start) + shift).date().isoformat(): value
        for start, value in points(answer).items()
        if value
    }
    assert found == {day: truth[day] for day in found}
    assert found


def test_csv_and_arrow_have_the_same_rows(api: TestClient) -> None:
    asked = {"name": "events", "range": DAYS, "interval": "1d", "group_by": "country"}
    rows = list(
        csv.DictReader(io.StringIO(api.get("/v1/metrics", params=asked | {"format": "csv"}).text))
    )
    arrow = api.get(
        "/v1/metrics", params=asked, headers={"accept": "application/vnd.apache.arrow.stream"}
    )
    frame = polars.read_ipc_stream(arrow.content)
    assert frame["value"].to_list() == [float(r["value"]) if r["value"] else None for r in rows]
    assert frame.columns == list(rows[0])


def test_what_is_asked_again_is_kept_until_it_changes(api: TestClient, bench: Bench) -> None:
    asked = {"name": "events", "range": DAYS, "filter": "country:US"}
    assert ask(api, **asked, max_age=60)["metrics"] == ask(api, **asked)["metrics"]
    first = api.get("/v1/metrics", params=asked)

    def again(**headers: str) -> Any:
        return api.get("/v1/metrics", params=asked, headers=headers)

    def kept() -> Any:
        return found if (found := again()).headers["x-cache"] == "process" else None

    # Answers are kept while it is known, by a look every 0.8 s, that no rows changed.
    found = waiting.until(kept, "the answer to be kept", seconds=60)
    assert found.json()["metrics"] == first.json()["metrics"]
    etag = {"if-none-match": first.headers["etag"]}
    waiting.until(lambda: again(**etag).status_code == 304, "it to hold", seconds=60)
    before = first.json()["metrics"][0]["series"][0]["total"]
    aged = {"name": "events", "range": DAYS, "filter": "country:DE"}
    earlier = ask(api, **aged, max_age=60)["metrics"]
    late = bench.make(300, TODAY - 2 * DAY, TODAY - 2 * DAY + HOUR)
    bench.publish(late)

    def total() -> int:
        found: int = ask(api, **asked)["metrics"][0]["series"][0]["total"]
        return found

    more = sum(event.country == "US" for event in late)
    waiting.until(lambda: total() == before + more, "the late batch to be seen", seconds=60)
    assert api.get("/v1/metrics", params=asked, headers=etag).status_code == 200
    assert ask(api, **aged, max_age=60)["metrics"] == earlier, "late rows may be missing so long"
    assert ask(api, **aged)["metrics"] != earlier


def test_a_document_that_can_not_be_read_says_where(api: TestClient) -> None:
    wrong = {"or": [{"dimension": "country", "value": "DE"}, {"not": {"dimension": 7}}]}
    answer = api.post("/v1/query", json={"metrics": ["events"], "filter": wrong})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"].startswith("/body/filter/or/or/1/not/not")


@pytest.mark.parametrize(
    ("parameters", "status", "named"),
    [
        ({"name": "evnts"}, 422, "page_views"),
        ({"name": "events", "group_by": "browser"}, 422, "country"),
        ({"name": "events", "range": "yesterweek"}, 400, "last_week"),
        ({"name": "events", "tz": "Mars/Phobos"}, 400, "IANA"),
        ({"name": "events", "interval": "7h"}, 400, "1h"),
        ({"name": "events", "limit": "0"}, 422, "limit"),
        ({"name": "events", "max_age": "1e9"}, 422, "max_age"),
        ({"name": "events", "cursor": "!"}, 400, "cursor"),
        ({"name": "events", "format": "xlsx"}, 400, "arrow"),
        ({"name": "events", "grup_by": "country"}, 400, "group_by"),
        ({}, 422, "name"),
    ],
)
def test_what_can_not_be_answered_says_what_there_is(
    api: TestClient, parameters: dict[str, str], status: int, named: str
) -> None:
    answer = api.get("/v1/metrics", params=parameters)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.text


EFFECTS: dict[str, dict[str, str]] = {
    "name": {"name": "page_views"},
    "range": {"range": f"{TODAY - 2 * DAY:%Y-%m-%d}/{TODAY - 2 * DAY:%Y-%m-%d}"},
    "interval": {"interval": "1d"},
    "tz": {"interval": "1d", "tz": "Asia/Kolkata"},
    "group_by": {"group_by": "country"},
    "filter": {"filter": "country:DE"},
    "compare": {"compare": "1d"},
    "complete_only": {"interval": "1d", "range": "today", "complete_only": "true"},
    "limit": {"group_by": "country", "limit": "1"},
    "cursor": {"group_by": "country", "limit": "1", "cursor": "…"},
    "max_age": {"range": "today", "max_age": "60"},
    "format": {"format": "csv"},
}
"""Each parameter, in a question whose answer it changes."""
SHOWN = {"format": "content-type"}
"""What shows that a parameter was heard which changes no number: a header."""
LATER = {"max_age"}
"""What changes an answer only after rows came, of which the test of kept answers tells."""


def test_every_documented_parameter_is_asked_and_heard(api: TestClient, repository: Path) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    declared = {one["name"] for one in paths["/v1/metrics"]["get"]["parameters"]}
    page = (repository / "docs" / "query-api.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", page.partition("## A question")[2], re.MULTILINE)
    assert declared == set(EFFECTS) == set(documented[: len(EFFECTS)])
    for parameter, others in EFFECTS.items():
        if parameter in LATER:
            continue
        asked = {"name": "events", "range": DAYS} | others
        without = {name: value for name, value in asked.items() if name != parameter}
        if parameter in ("name", "range"):
            without = {"name": "events", "range": DAYS}
        if parameter == "cursor":
            asked["cursor"] = ask(api, **without)["next"]
        found, plain = (api.get("/v1/metrics", params=one) for one in (asked, without))
        assert (found.status_code, plain.status_code) == (200, 200), found.text
        if header := SHOWN.get(parameter):
            assert found.headers[header] != plain.headers[header], parameter
        else:
            assert found.json()["metrics"] != plain.json()["metrics"], parameter


def test_the_document_has_the_same_members(api: TestClient) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    lists = {"name": "metrics", "group_by": "group_by"}
    members = {name: lists.get(name, name) for name in EFFECTS}
    assert set(schemas["QueryDocument"]["properties"]) == set(members.values())
    read = {
        "filter": lambda text: dict(zip(("dimension", "value"), text.split(":"), strict=True)),
        "limit": int,
        "max_age": float,
        "complete_only": lambda text: text == "true",
        **{name: lambda text: text.split(",") for name in lists},
    }
    for parameter, others in EFFECTS.items():
        asked = {"name": "events", "range": DAYS} | others
        if parameter == "cursor":
            asked["cursor"] = ask(api, **{**asked, "cursor": ""})["next"]
        document = {members[name]: read.get(name, str)(text) for name, text in asked.items()}
        posted = api.post("/v1/query", json=document)
        assert posted.status_code == 200, posted.text
        if header := SHOWN.get(parameter):
            given = api.get("/v1/metrics", params=asked)
            assert posted.headers[header] == given.headers[header], parameter
        else:
            assert posted.json()["metrics"] == ask(api, **asked)["metrics"], parameter


def test_every_parameter_of_samples_is_asked_and_heard(api: TestClient) -> None:
    effects = {
        "name": {"name": "page_views"},
        "range": {"range": f"{TODAY - 3 * DAY:%Y-%m-%d}/{TODAY - 3 * DAY:%Y-%m-%d}"},  # nothing
        "tz": {"tz": "Asia/Kolkata"},
        "filter": {"filter": "country:DE"},
        "limit": {"limit": "1"},
    }
    paths = api.get("/openapi.json").json()["paths"]
    assert {one["name"] for one in paths["/v1/samples"]["get"]["parameters"]} == set(effects)
    base = {"name": "events", "range": f"{TODAY - 3 * DAY:%Y-%m-%d}/{TODAY - 2 * DAY:%Y-%m-%d}"}
    plain = api.get("/v1/samples", params=base).json()
    for parameter, others in effects.items():
        found = api.get("/v1/samples", params=base | others)
        assert found.status_code == 200, found.text
        assert found.json()["rows"] != plain["rows"], parameter


def test_the_documented_document_is_answered(api: TestClient) -> None:
    (document,) = documentation.blocks("docs/query-api.md", "json")
    answer = api.post("/v1/query", json=json.loads(document))
    assert answer.status_code == 200, answer.text
    assert [metric["name"] for metric in answer.json()["metrics"]] == ["events", "page_views"]


def test_while_nobody_can_tell_whether_rows_changed_no_answer_is_given_again(
    api: TestClient, bench: Bench
) -> None:
    asked = {"name": "events", "range": DAYS, "interval": "1d"}
    generations = api.app.state.service.generations

    def again() -> Any:
        etag = api.get("/v1/metrics", params=asked).headers["etag"]
        return api.get("/v1/metrics", params=asked, headers={"if-none-match": etag})

    waiting.until(lambda: again().status_code == 304, "an answer that holds", seconds=60)
    assert api.portal is not None
    api.portal.call(generations.stop)
    try:
        waiting.until(lambda: not generations.is_current, "what is known to age", seconds=60)
        assert again().headers["x-cache"] == "computed"
    finally:
        api.portal.call(generations.start, api.app.state.service.warehouse)
    waiting.until(lambda: again().status_code == 304, "an answer that holds", seconds=60)


def test_nobody_is_told_anything(bench: Bench) -> None:
    with TestClient(create(bench.settings)) as client:
        answer = client.get("/v1/metrics?name=events")
    assert answer.status_code == 401


def test_a_part_of_a_period_is_compared_with_the_same_part(api: TestClient, bench: Bench) -> None:
    asked = {"range": DAYS, "interval": "1d", "compare": "1d"}
    (series,) = ask(api, name="events", **asked)["metrics"][0]["series"]
    values = [point["value"] or 0 for point in series["points"]]
    compared = [point["compared"] or 0 for point in series["points"]]
    assert compared[1:] == values[:-1]
    assert series["compared_total"] == sum(compared)


def test_who_may_see_some_datasets_is_told_of_no_other_metric(
    api: TestClient, bench: Bench
) -> None:
    with postgres.connect(bench.settings) as connection:
        made = tokens.NewToken("some", "analyst", datasets=["sessions"])
        headers = {"authorization": f"Bearer {tokens.add(connection, made)}"}
    seen = lambda: api.get("/v1/metrics?name=sessions", headers=headers).is_success  # noqa: E731
    waiting.until(seen, "the token to be known", seconds=60)
    refused = api.get("/v1/metrics?name=rejected_events", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_metric")
    assert "rejected_events" not in refused.json()["metrics"]
    listed = [one["name"] for one in api.get("/v1/items", headers=headers).json()["metrics"]]
    assert listed == sorted(refused.json()["metrics"])
    assert "sessions" in listed
    for path in (
        f"/v1/events/{bench.events[0].event_id}",
        f"/v1/users/{bench.events[0].user_id}/activity",
        f"/v1/sessions/{'0' * 32}",
    ):
        hidden = api.get(path, headers=headers)
        assert (hidden.status_code, hidden.json()["code"]) == (403, "not_allowed"), path


def test_samples_are_the_events_that_a_number_is_made_of(api: TestClient, bench: Bench) -> None:
    asked = {"name": "page_views", "range": DAYS, "filter": "country:DE,device:mobile"}
    answer = api.get("/v1/samples", params=asked | {"limit": "1000"})
    assert answer.status_code == 200, answer.text
    wanted = [
        event
        for event in bench.events
        if (event.country, event.device, event.event_type) == ("DE", "mobile", "page_view")
    ]
    newest = sorted((event.event_time for event in wanted), reverse=True)[:1000]
    found = [datetime.fromisoformat(row["event_time"]) for row in answer.json()["rows"]]
    assert (answer.json()["table"], found) == ("events", newest)
    refused = api.get("/v1/samples", params={"name": "sessions"})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_samples")


def test_what_failed_its_audit_is_withheld_with_the_reason(api: TestClient, bench: Bench) -> None:
    day = TODAY - 2 * DAY
    asked = {"name": "events", "range": f"{day:%Y-%m-%d}/{day:%Y-%m-%d}", "interval": "1h"}
    before = points(ask(api, **asked))
    with postgres.connect(bench.settings) as connection:
        connection.execute(
            "INSERT INTO published_windows (dataset, window_start, window_end, status, reason)"
            " VALUES ('events', %s, %s, 'withheld', 'half of the countries are missing')",
            [day + 5 * HOUR, day + 6 * HOUR],
        )

    def withheld() -> list[Any]:
        (series,) = ask(api, **asked)["metrics"][0]["series"]
        return [point for point in series["points"] if point["status"] == "withheld"]

    found = waiting.until(withheld, "the verdict to be seen", seconds=60)
    assert [(point["start"], point["value"]) for point in found] == [
        (f"{day + 5 * HOUR:%Y-%m-%dT%H:%M:%SZ}", None)
    ]
    assert "half of the countries" in found[0]["reason"]
    assert before[found[0]["start"]]


def test_the_path_that_prometheus_scrapes_answers_a_name(api: TestClient) -> None:
    asked = {"name": "events", "range": DAYS, "interval": "1d"}
    plain = api.get("/v1/metrics", params=asked).json()
    assert api.get("/metrics", params=asked).json()["metrics"] == plain["metrics"]
    counted = 'millrace_query_request_seconds_count{method="GET",route="/v1/metrics",status="200"}'
    assert counted in api.get("/metrics").text
