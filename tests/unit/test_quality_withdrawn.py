"""What can't be published while a rollup's view is taken out of the path of ingest."""

from __future__ import annotations

from millrace.quality.withdrawn import spread


def test_what_reads_a_rollup_directly_or_not_is_withheld_with_it() -> None:
    views = {
        "analytics.top_pages": "SELECT day FROM analytics.page_views_1d",
        "analytics.best": "SELECT 1 FROM (SELECT * FROM analytics.top_pages)",
        "analytics.other": "SELECT * FROM analytics.page_views_1d_more",
        "analytics.another": "SELECT * FROM my_analytics.page_views_1d",
    }
    found = spread({"analytics.page_views_1d": "it threw"}, views)
    assert found == dict.fromkeys(
        ["analytics.page_views_1d", "analytics.top_pages", "analytics.best"], "it threw"
    )
