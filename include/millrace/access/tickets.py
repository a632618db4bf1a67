"""Users of Airflow come over without a second login: its plugin vouches for them with a ticket.

A ticket is sealed with ``MILLRACE_QUERY_KEY``, which Airflow's processes and the query API share;
it is good for a minute, and once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass

from millrace.access.keys import AccessError
from millrace.access.roles import ROLES, Role
from millrace.access.signing import Seal

SECONDS = 60
ISSUER = "airflow"
"""Stands for Airflow where ``users`` have the issuer that vouches for them."""

_ROLES: dict[str, Role] = {
    "viewer": "viewer",
    "user": "analyst",
    "op": "operator",
    "admin": "admin",
}
"""Our roles by Airflow's, in lower case; its auth managers agree on these names."""


@dataclass(frozen=True)
class Ticket:
    """Whom Airflow vouches for; ``ticket_id`` tells a ticket that comes twice."""

    ticket_id: str
    subject: str
    role: Role

    @property
    def name(self) -> str:
        """What the user is called here, beside others of the name."""
        return f"{self.subject.lower()}@{ISSUER}"


def issue(seal: Seal, subject: str, roles: Collection[str]) -> str:
    """Return a ticket for a user of Airflow, with the highest of their roles there.

    Raises ``AccessError`` where they have none that counts here.
    """
    given = {_ROLES.get(role.lower()) for role in roles}
    role = next((role for role in reversed(ROLES) if role in given), None)
    if role is None:
        raise AccessError(f"{subject} has none of Airflow's roles Viewer, User, Op and Admin")
    return seal.seal(["ticket", secrets.token_urlsafe(12), subject, role, time.time() + SECONDS])


def read(seal: Seal, text: str) -> Ticket:
    """Return what a ticket says. Raises ``AccessError`` where it is none, or too old."""
    try:
        kind, ticket_id, subject, role, until = seal.open(text)
    except (ValueError, TypeError):
        raise AccessError("this is no ticket of Airflow's plugin") from None
    if kind != "ticket" or time.time() > until:
        raise AccessError("the ticket is too old")
    return Ticket(ticket_id, subject, role)
