"""PromQL on ClickHouse: an expression is parsed, checked, and compiled to one SQL statement."""

from millrace.alerts.promql.compiler import Expression, Selector, parse
from millrace.alerts.promql.errors import UnsupportedError

__all__ = ["Expression", "Selector", "UnsupportedError", "parse"]
