"""Silences, which have an end, and maintenance windows, which come again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from psycopg.rows import DictRow

from millrace.alerts import matchers as label_matchers
from millrace.alerts import overview, repository, rules
from millrace.alerts.repository import Connection
from millrace.stores import postgres, sql

EVERY = ("once", "day", "week")


@dataclass(frozen=True)
class Mute:
    """What is not notified: alerts that fit every matcher, from a time on; who says so and why."""

    matchers: Sequence[str]
    starts_at: datetime
    lasts: timedelta
    author: str
    comment: str = ""


def duration(text: str) -> timedelta:
    """Read a duration such as ``2h``; raises ``ValueError`` where it is none."""
    return timedelta(seconds=rules.seconds("for", text))


def add(connection: Connection, mute: Mute) -> int:
    """Silence alerts once; return the silence's number. Raises ``ValueError`` for a bad matcher."""
    values = _checked(mute)
    try:
        values["ends_at"] = mute.starts_at + mute.lasts
    except OverflowError:
        raise ValueError("--for: it ends after the year 9999") from None
    row = postgres.one(connection.execute(sql.render("postgres/alerts/add_silence.sql"), values))
    return int(row["silence_id"])


def plan_window(connection: Connection, name: str, mute: Mute, every: str) -> None:
    """Plan a window that comes again ``every`` day or week, or once.

    Raises ``ValueError`` for a bad matcher or another interval.
    """
    if every not in EVERY:
        raise ValueError(f"--every: {every!r} is not once, day or week")
    if name.isdecimal():
        raise ValueError(f"name: {name} would be taken for a silence's number; add a letter")
    values = _checked(mute) | {"name": name, "every": every}
    connection.execute(sql.render("postgres/alerts/save_window.sql"), values)


def _checked(mute: Mute) -> dict[str, object]:
    label_matchers.check(mute.matchers)
    if mute.lasts <= timedelta():
        raise ValueError("--for: it has to last for a while; write for example 2h")
    return asdict(mute) | {"matchers": list(mute.matchers)}


def check_sense(
    connection: Connection, wanted: Sequence[str], metrics: dict[str, rules.Metric] | None
) -> None:
    """Refuse matchers that no alert can fit by now. Raises ``ValueError`` naming what is known."""
    label_matchers.check(wanted)
    known = overview.known_labels(connection, metrics)
    for name in label_matchers.names(wanted):
        if name not in known:
            raise ValueError(
                f"no alert has a label {name} (known are: {', '.join(sorted(known))}); "
                "--anyway silences it all the same"
            )
    on_names = [one for one in wanted if label_matchers.names([one]) == ["alertname"]]
    everyone = [rule.name for rule in repository.load_rules(connection)]
    if on_names and not any(label_matchers.match(on_names, {"alertname": n}) for n in everyone):
        raise ValueError(
            f"no rule is called so: {', '.join(on_names)} (there are: {', '.join(everyone)}); "
            "--anyway silences it all the same"
        )


def present(connection: Connection) -> tuple[list[DictRow], list[DictRow]]:
    """Return the silences that have not ended, and the windows."""
    silences = "SELECT * FROM alert_silences WHERE ends_at > now() ORDER BY ends_at"
    windows = "SELECT * FROM alert_maintenance_windows ORDER BY name"
    return connection.execute(silences).fetchall(), connection.execute(windows).fetchall()


def find(connection: Connection, silence_id: int) -> DictRow | None:
    """Return a silence, also one that has ended."""
    query = "SELECT * FROM alert_silences WHERE silence_id = %s"
    return connection.execute(query, [silence_id]).fetchone()


def end(connection: Connection, name: str) -> bool:
    """End the silence of this number, or remove the window of this name; tell if there was one."""
    if name.isascii() and name.isdecimal() and len(name) < len(str(1 << 63)):
        done = connection.execute(
            sql.render("postgres/alerts/end_silence.sql"), {"silence_id": int(name)}
        )
    else:
        done = connection.execute("DELETE FROM alert_maintenance_windows WHERE name = %s", [name])
    return done.rowcount > 0
