"""Make a file of events, rejected events or a mart for someone, ending with a link.

**How.** *Trigger* opens a form: dataset, range, filters (one a line, such as `country = DE`,
`event_type in purchase, add_to_cart`, `offset > 1000`; all must hold), format, and what to do with
personal data. The link is the return value of `make_file` (its *XCom* tab) and in its log; it works
for `MILLRACE_EXPORT_LINK_HOURS` (24), for whoever has it.

**Personal data** is excluded unless `export_roles` grants the person more:
`./millrace exports grant NAME hashed|plain`. Asking for more than that fails and says so.

**Quality gate.** A range that is withheld or not judged yet is refused, with the reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException


@dag(
    schedule=None,
    doc_md=__doc__,
    tags=["exports", "tier-3"],
    default_args={
        "owner": "data-engineering",
        "pool": "maintenance",
        "retries": 2,
        "retry_delay": timedelta(seconds=15),
        "retry_exponential_backoff": True,
    },
    params={
        "dataset": Param(
            "events",
            type="string",
            examples=["events", "rejected_events", "metrics_1h", "raw_events"],
            title="Dataset",
            description="Name of an export definition",
        ),
        "start": Param("", type="string", format="date-time", title="From (UTC, inclusive)"),
        "end": Param("", type="string", format="date-time", title="To (UTC, exclusive)"),
        "filters": Param(
            None,
            type=["null", "string"],
            title="Filters",
            description="One condition a line: country = DE",
            format="multiline",
        ),
        "format": Param("Parquet", enum=["Parquet", "CSV", "JSONEachRow"], title="Format"),
        "personal_data": Param(
            "excluded", enum=["excluded", "hashed", "plain"], title="Personal data"
        ),
    },
)
def export_on_demand() -> None:
    """One task: make the file, return the link."""

    @task
    def make_file(params: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, str]:
        """Make the file and return its link, size and row count."""
        from millrace.exports import service
        from millrace.exports.definitions import ExportError
        from millrace.settings import Settings

        try:
            return service.deliver(
                Settings(), params or {}, dag_run.triggering_user_name or "nobody"
            )
        except ExportError as error:
            raise AirflowFailException(str(error)) from error

    make_file()


export_on_demand()
