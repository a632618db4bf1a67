"""What the tests of a whole stack do to its Airflow."""

from __future__ import annotations

from millrace.stack import airflow
from millrace.stack.stack import Stack


def run_only(stack: Stack, *wanted: str) -> None:
    """Leave the machine to the DAGs that a test is about; the others are paused."""
    with airflow.api(stack.settings, stack.secrets) as api:
        dags = api.get("/dags", params={"limit": 100}).raise_for_status().json()["dags"]
        for dag in dags:
            change = {"is_paused": dag["dag_id"] not in wanted}
            api.patch(f"/dags/{dag['dag_id']}", json=change).raise_for_status()
