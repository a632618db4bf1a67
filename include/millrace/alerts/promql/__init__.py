"""PromQL on ClickHouse: expressions are parsed, checked, and compiled to SQL statements."""

from millrace.alerts.promql.compiler import Batch, Expression, Selector, parse
from millrace.alerts.promql.errors import UnsupportedError

__all__ = ["Batch", "Expression", "Selector", "UnsupportedError", "parse"]
