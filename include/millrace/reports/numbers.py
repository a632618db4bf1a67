"""Numbers of a report, as the query API answers them, each with what it is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from millrace.reports.model import Panel, ReportError
from millrace.settings import MissingSettingError, Settings

ANSWER_SECONDS = 90.0


class NumbersAwayError(Exception):
    """The query API does not answer now; another try may do."""


@dataclass(frozen=True)
class Answered:
    """A panel with its answer (docs/query-api.md), or why it has none."""

    panel: Panel
    answer: dict[str, Any] | None
    problem: str = ""


def ask(settings: Settings, panels: Iterable[Panel]) -> list[Answered]:
    """Ask each panel's question, with the token of reports.

    A question that is refused, by its metric's name for instance, says so in its place. Raises
    ``NumbersAwayError``; ``ReportError`` when the API does not know the token;
    ``MissingSettingError`` where there is none.
    """
    token = settings.report_token.get_secret_value()
    if not token:
        raise MissingSettingError("MILLRACE_REPORT_TOKEN")
    with httpx.Client(
        base_url=settings.query_api_url,
        headers={"Authorization": f"Bearer {token}"},
        timeout=ANSWER_SECONDS,
    ) as client:
        return [_ask(client, panel) for panel in panels]


def _ask(client: httpx.Client, panel: Panel) -> Answered:
    if panel.problem:
        return Answered(panel, None, panel.problem)
    try:
        answer = client.get("/v1/metrics", params=dict(panel.question))
    except httpx.HTTPError as error:
        raise NumbersAwayError(f"The query API does not answer: {error}") from error
    if answer.is_success:
        return Answered(panel, answer.json())
    if answer.status_code == 401:
        raise ReportError(
            "The query API does not know the token of reports: set MILLRACE_REPORT_TOKEN to one "
            "that ./millrace tokens add NAME --role viewer prints"
        )
    if answer.status_code == 429 or answer.status_code >= 500:
        raise NumbersAwayError(f"The query API answers {answer.status_code}: {_detail(answer)}")
    return Answered(panel, None, _detail(answer))


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
