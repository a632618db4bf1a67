"""``./millrace alerts``: see, add, try out, silence and acknowledge alerts."""

from millrace.cli.alerts import history, rules, silences
from millrace.cli.alerts.common import app

__all__ = ["app", "history", "rules", "silences"]
