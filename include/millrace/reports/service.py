"""Making reports: what DAGs and the API call."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.reports import numbers, page, store
from millrace.reports.model import Recipient, ReportError
from millrace.reports.sending import Made, Sender, SendingError
from millrace.settings import Settings
from millrace.stores import objects, postgres

FOLDER = "reports"


def due(settings: Settings, now: datetime) -> list[dict[str, str]]:
    """Return the scheduled reports that are due and did not go out yet, as ``make`` takes them.

    After an outage only the newest moment of each is made up for: an older one would say the same.
    """
    found = []
    with postgres.connect(settings) as connection:
        changed = {row["name"]: row["scheduled_at"] for row in store.rows(connection)}
        for report in store.every(connection):
            if report.schedule is None or not report.is_active:
                continue
            moment = report.schedule.last_due(now)
            text = f"{moment:%Y-%m-%dT%H:%MZ}"
            if moment > changed[report.name] and not store.is_done(connection, report.name, text):
                found.append({"report": report.name, "due": text})
    return found


def make(
    settings: Settings,
    name: str,
    moment: str,
    requested_by: str,
    senders: Mapping[str, Sender],
) -> dict[str, Any]:
    """Make a report, store it, and send it to those who did not get it yet; return what was done.

    ``moment`` is what it is made for, which is done once: a moment of the schedule, or the id of a
    run. Raises ``ReportError`` for a report that is none; ``NumbersAwayError`` and ``SendingError``
    when another try may do.
    """
    with postgres.connect(settings) as connection:
        report = store.find(connection, name)
        if store.is_done(connection, name, moment):
            return {"report": name, "is_sent_already": True}
        run_id, receipts = store.begin(connection, name, moment, requested_by)
        try:
            answered = numbers.ask(settings, store.resolved(connection, report))
            made_at = datetime.now(UTC)
            html = page.render(report, answered, made_at)
            key = f"{FOLDER}/{name}/{run_id}.html"
            link = _keep(settings, key, html)
            store.note(connection, run_id, object_key=key)
            digest = hashlib.sha256(f"{name}\n{moment}".encode()).hexdigest()[:32]
            made = Made(digest, name, report.title, link, html, page.summarize(answered))
            failures = []
            for recipient in report.recipients:
                if _key(recipient) in receipts:
                    continue
                try:
                    route = store.route(connection, recipient.route, recipient.config)
                    send = senders[route["kind"]]
                    receipt = send(route["connection_id"], route["config"], made)
                except (SendingError, ReportError) as error:
                    failures.append(f"{recipient.route}: {error}")
                else:
                    store.note(connection, run_id, receipts={_key(recipient): receipt})
            if failures:
                raise SendingError("; ".join(failures))
        except Exception as error:
            store.note(connection, run_id, error=str(error)[:500] or type(error).__name__)
            raise
        store.note(connection, run_id, is_done=True)
    unanswered = [one.panel.title for one in answered if one.problem]
    return {
        "report": name,
        "object": key,
        "link": link,
        "recipients": len(report.recipients),
        "unanswered": unanswered,
    }


def read_page(settings: Settings, key: str) -> bytes:
    """Return a page that was stored."""
    answer = objects.connect(settings).get_object(settings.s3_bucket, key)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


def expire(settings: Settings, now: datetime) -> str:
    """Delete the pages and the record of runs that are past their retention; say how many.

    So go pages of which no record is left, such as of a report that was deleted. The record goes
    last, so that what was interrupted is made up for.
    """
    before = now - timedelta(days=settings.report_retention_days)
    client = objects.connect(settings)
    with postgres.connect(settings) as connection:
        keys = set(store.expired_pages(connection, before))
        for page in client.list_objects(settings.s3_bucket, f"{FOLDER}/", recursive=True):
            if page.object_name and page.last_modified and page.last_modified < before:
                keys.add(page.object_name)
        for key in keys:
            client.remove_object(settings.s3_bucket, key)
        store.expire_runs(connection, before)
    return f"{len(keys)} pages of reports"


def _keep(settings: Settings, key: str, html: str) -> str:
    """Store a page; return a link to it that works for a while, for whoever has it."""
    client, content = objects.connect(settings), html.encode()
    client.put_object(
        settings.s3_bucket,
        key,
        io.BytesIO(content),
        len(content),
        content_type="text/html; charset=utf-8",
    )
    life = timedelta(hours=settings.export_link_hours)
    return str(client.presigned_get_object(settings.s3_bucket, key, expires=life))


def _key(recipient: Recipient) -> str:
    config = ",".join(f"{name}={value}" for name, value in sorted(recipient.config.items()))
    return f"{recipient.route}({config})" if config else recipient.route
