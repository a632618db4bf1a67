"""What a campaign sends: simulated traffic, and beside it what strangers write."""

from __future__ import annotations

import threading

from millrace.lab.simulate import send
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.simulate.strangers import Strangers
from millrace.settings import Settings
from millrace.stores import kafka

STRANGERS_SHARE = 0.02
"""How many messages strangers write, as a share of the traffic."""


class Load(threading.Thread):
    """Traffic to a topic until told to stop."""

    def __init__(self, settings: Settings, topic: str, plan: send.Plan) -> None:
        super().__init__(name=f"load of {topic}", daemon=True)
        self.settings = settings
        self.topic = topic
        self.plan = plan
        self.stopping = threading.Event()
        self.manifest: Manifest | None = None

    def run(self) -> None:
        """Send."""
        self.manifest = self._send()

    def _send(self) -> Manifest:
        return send.run(self.plan, self.settings, topic=self.topic, stop=self.stopping)

    def finish(self) -> Manifest:
        """Stop, wait for every acknowledgement and return what was sent."""
        self.stopping.set()
        self.join()
        if self.manifest is None:
            raise RuntimeError(f"the {self.name} died; see the traceback above")
        return self.manifest


class StrangersLoad(Load):
    """What strangers write to the same topic meanwhile, second by second."""

    def _send(self) -> Manifest:
        kafka.ensure_topic(self.settings, self.topic)
        strangers = Strangers(self.settings, self.topic, self.plan.seed)
        try:
            while not self.stopping.wait(1.0):
                strangers.write(max(1, int(self.plan.rate * STRANGERS_SHARE)))
        finally:
            strangers.close()
        return strangers.manifest()
