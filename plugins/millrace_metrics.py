"""Millrace's metrics for Prometheus, at ``/millrace/metrics`` of Airflow's API server.

No login, like Airflow's own health page: it shows names of sources and counts, no data.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, Response

app = FastAPI(title="Millrace", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/metrics")
def metrics() -> Response:
    """Return every metric in Prometheus' text format."""
    from prometheus_client import CONTENT_TYPE_LATEST

    from millrace.ingest.metrics import exposition
    from millrace_connections import settings

    return Response(exposition(settings()), media_type=CONTENT_TYPE_LATEST)


class MillraceMetrics(AirflowPlugin):
    """Mounts the metrics in Airflow's API server."""

    name = "millrace_metrics"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": app, "url_prefix": "/millrace", "name": "Millrace metrics"}
    ]
