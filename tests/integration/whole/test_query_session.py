"""Whoever is logged in to Airflow comes to the query API without a second login."""

from __future__ import annotations

import httpx

from millrace.access import tickets
from millrace.access.signing import Seal
from millrace.stack import airflow
from millrace.stack.stack import Stack


def test_airflow_vouches_for_its_users(airflow_stack: Stack) -> None:
    settings = airflow_stack.settings
    with airflow.api(settings, airflow_stack.secrets) as api:
        token = api.headers["authorization"].removeprefix("Bearer ")
    entrance = f"{settings.airflow_url}/query-api/"
    assert httpx.get(entrance).status_code == 401
    to_login = httpx.get(entrance, headers={"accept": "text/html"})
    assert to_login.status_code == 303
    assert httpx.URL(to_login.headers["location"]).params["next"] == "/query-api/"
    led = httpx.get(entrance, params={"next": "/v1/me"}, cookies={"_token": token})
    assert led.status_code == 303
    place = httpx.URL(led.headers["location"])
    assert str(place).startswith(f"{settings.query_url}/v1/airflow/session?")
    assert place.params["next"] == "/v1/me"
    ticket = tickets.read(Seal(settings), place.params["ticket"])
    assert (ticket.name, ticket.role) == ("admin@airflow", "admin")
