"""What a family of routes is: how its SDKs name a key, send events and read an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion.account import Account as Account
from millrace.api.ingestion.batches import Batch, Outcome
from millrace.api.ingestion.families.answers import accepted


class Family(ABC):
    """The routes of one kind of SDK.

    ``routes`` are (method, path); a path may end in ``*``, and have ``{name}`` for one segment.
    """

    name: ClassVar[str]
    routes: ClassVar[tuple[tuple[str, str], ...]]

    def key(self, request: Request) -> str | None:
        """Return the key as this family's bodies name it; headers and query were looked at."""
        return None

    def discovery(self, request: Request) -> Response | None:
        """Answer what an SDK asks before it sends, which needs no valid key; else nothing."""
        return None

    @abstractmethod
    def read(self, request: Request, account: Account) -> Batch:
        """Translate a request to events of the contract.

        Raises ``ProblemError`` (400) where the body is no batch at all.
        """

    def answer(self, request: Request, outcome: Outcome) -> Response:
        """Say that every event is durable, as these SDKs understand it."""
        return Response.json(200, accepted(outcome))

    def refuse(self, request: Request, problem: ProblemError) -> Response:
        """Say no, as these SDKs understand it."""
        return problem.response(request.request_id)
