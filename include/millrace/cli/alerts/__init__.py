"""``./millrace alerts``: see, add, try out, silence and acknowledge alerts."""

from millrace.cli.alerts import history, routes, rules, silences
from millrace.cli.alerts.common import app

__all__ = ["app", "history", "routes", "rules", "silences"]
