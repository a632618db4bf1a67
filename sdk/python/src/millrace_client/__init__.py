"""Sends events to Millrace: batched in the background, repeated until they are acknowledged.

    from millrace_client import Client

    with Client("http://127.0.0.1:18080", key) as client:
        client.track("purchase", user_id=424242, page="/checkout", amount=49.9)

An event gets its ``event_id`` before it is first sent and keeps it in every repetition, so that
what was sent twice, because an answer was lost, is counted once.

``QueryClient`` asks for numbers (``millrace_client.query``).
"""

from .client import Client
from .delivery import Failure, Rejection
from .query import Answer, QueryClient, QueryError, Row

__all__ = ["Answer", "Client", "Failure", "QueryClient", "QueryError", "Rejection", "Row"]
