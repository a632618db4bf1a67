"""Import in the scheduler what tasks need: it forks them, and they find it there at no cost.

A task that runs every minute would otherwise spend most of its time on the same imports. Servers
and executors that do not fork are as fast as without this.
"""

from __future__ import annotations

import sys

if sys.argv[1:2] == ["scheduler"]:
    import millrace.alerts.check
    import millrace.alerts.outbox
    import millrace.alerts.pipeline
    import millrace.stores.kafka  # noqa: F401
