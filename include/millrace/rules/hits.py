"""How often each rule hit, by closed windows of five minutes; shadow rules included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from millrace.contract import failures, sources
from millrace.rules import gate, store, trial
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

WINDOW = timedelta(minutes=5)
LOOKBACK = timedelta(hours=1)


def count_closed(settings: Settings, now: datetime | None = None) -> int:
    """Count the hits of every closed window of the last hour; return how many rules hit.

    Counting a window again replaces its counts, so late messages of it are seen too.
    """
    moment = now or datetime.now(UTC)
    seconds = int(WINDOW.total_seconds())
    end = datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)
    start = end - LOOKBACK
    counted = 0
    with clickhouse.connect(settings, "loader") as client:
        client.command(
            sql.render("clickhouse/rules/count_hits.sql"),
            parameters={"start": start, "end": end, "seconds": seconds, "now": moment},
        )
        with postgres.connect(settings) as connection:
            for source in sources.active(connection):
                source_id = source.source_id
                rules = store.rules_of(connection, source_id)
                around = gate.surroundings(connection, settings, source_id)
                # Shadow rules are not in the gate: they are run over the newest window only.
                window = (end - WINDOW, end)
                found = trial.shadow_hits(client, rules, around, source_id, *window)
                rows = []
                for name, one in found.items():
                    if one.hits:
                        reason = failures.parse(one.examples[0]["failure"]).reason
                        shown = [str(example) for example in one.examples[:3]]
                        rows.append(
                            [window[0], source_id, name, "shadow", reason, one.hits, shown, moment]
                        )
                counted += len(rows)
                if rows:
                    client.insert("rule_hits", rows)
    return counted


def of_last_day(settings: Settings) -> dict[str, int]:
    """Return how often each rule hit in the windows of the last 24 hours, by its name."""
    with clickhouse.connect(settings, "operator") as client:
        answer = client.query(sql.render("clickhouse/rules/hits_of_last_day.sql"))
    return {str(name): int(hits) for name, hits in answer.result_rows}
