"""PromQL on ClickHouse: expressions are parsed, checked, and compiled to SQL statements."""

from millrace.alerts.promql.compiler import Batch, Compiled, Expression, Selector, parse
from millrace.alerts.promql.errors import UnsupportedError
from millrace.alerts.promql.selectors import LOOKBACK

__all__ = [
    "LOOKBACK", "Batch", "Compiled", "Expression", "Selector", "UnsupportedError", "parse",
]  # fmt: skip
