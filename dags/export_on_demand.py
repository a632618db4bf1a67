"""Make a file of events, rejected events or a mart for someone, ending with a link.

**How.** *Trigger* opens a form: dataset, range, filters (one a line, such as `country = DE`,
`event_type in purchase, add_to_cart`, `offset > 1000`; all must hold), format, and what to do with
personal data. The link is the return value of `make_file` (its *XCom* tab) and in its log; it works
for `MILLRACE_EXPORT_LINK_HOURS` (24), for whoever has it.

**Personal data** is excluded unless `export_roles` grants the person more:
`./millrace exports grant NAME hashed|plain`. Asking for more than that fails and says so.

**When it fails**: the log of `make_file` ends with what the form asked for and can't have, such as
a range that is withheld or not judged yet. Nobody else is notified; correct the form and trigger
again.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from millrace_connections import settings
from millrace_dags import Pool, Tag, default_args, manual, person

DATASETS = ["events", "rejected_events", "metrics_1h", "raw_events"]
MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
LINES: dict[str, Any] = {"type": ["null", "string"], "format": "multiline"}
FORMATS = ["Parquet", "CSV", "JSONEachRow"]
PERSONAL_DATA = ["excluded", "hashed", "plain"]


@dag(
    schedule=None,
    **manual(__doc__),
    tags=[Tag.EXPORTS, Tag.TIER_3],
    default_args=default_args(Pool.MAINTENANCE, retries=2),
    params={
        "dataset": Param("events", type="string", examples=DATASETS, title="Dataset"),
        "start": Param("", title="From (UTC, inclusive)", **MOMENT),
        "end": Param("", title="To (UTC, exclusive)", **MOMENT),
        "filters": Param(None, title="Filters, one a line: country = DE", **LINES),
        "format": Param("Parquet", enum=FORMATS, title="Format"),
        "personal_data": Param("excluded", enum=PERSONAL_DATA, title="Personal data"),
    },
)
def export_on_demand() -> None:
    """One task: make the file, return the link."""

    @task
    def make_file(params: dict[str, Any] | None = None, dag_run: Any = None) -> dict[str, str]:
        """Make the file and return its link, size and row count."""
        from millrace.exports import service
        from millrace.exports.definitions import ExportError

        who = person(dag_run, "nobody")
        try:
            return service.deliver(settings(), params or {}, who)
        except ExportError as error:
            raise AirflowFailException(str(error)) from error

    make_file()


export_on_demand()
