"""Prometheus itself, serving the samples."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from millrace import processes

Key = tuple[int, tuple[tuple[str, str], ...]]
READY_SECONDS = 30


class PrometheusError(Exception):
    """Prometheus refused or failed a query."""


class Prometheus:
    """A client of Prometheus' HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api)."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def evaluate(self, query: str, start: int, end: int, step: int) -> dict[Key, float]:
        """Return values by time (ms) and labels. Raises ``PrometheusError``."""
        if start == end:
            answer = self._get("query", query=query, time=start / 1000)
        else:
            times = {"start": start / 1000, "end": end / 1000, "step": step / 1000}
            answer = self._get("query_range", query=query, **times)
        if answer["resultType"] == "scalar":
            return {(start, ()): _number(answer["result"][1])}
        return {
            (round(at * 1000), tuple(sorted(series["metric"].items()))): _number(value)
            for series in answer["result"]
            for at, value in series.get("values") or [series["value"]]
        }

    def _get(self, path: str, **parameters: Any) -> Any:
        body = self.client.get(f"/api/v1/{path}", params=parameters).json()
        if body["status"] != "success":
            raise PrometheusError(body["error"])
        return body["data"]


def _number(text: str) -> float:
    return {"+Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan}.get(text) or float(text)


@contextmanager
def serving(openmetrics: str, folder: Path) -> Iterator[Prometheus]:
    """Load samples into blocks of a fresh Prometheus, and serve them.

    Needs Debian's package ``prometheus``, and says so where it is missing.
    """
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed: apt-get install prometheus")
    samples, data, config = folder / "samples.txt", folder / "data", folder / "prometheus.yml"
    samples.write_text(openmetrics)
    config.write_text("")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(samples), str(data)],
        check=True,
        capture_output=True,
    )
    address = f"127.0.0.1:{processes.free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        transport = httpx.HTTPTransport(retries=10)  # waits longer after each refused connection
        with httpx.Client(transport=transport, base_url=f"http://{address}") as client:
            for _ in range(READY_SECONDS):
                if client.get("/-/ready").is_success:
                    break
        with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(30)
