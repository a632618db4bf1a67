"""What is in flight goes to the spool, also where a new producer can't be made at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.api.ingestion import producing
from millrace.api.ingestion.delivery import Delivery
from millrace.api.ingestion.spool import Record
from millrace.settings import Settings


@pytest.mark.slow
def test_a_machine_without_a_thread_left_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        home=tmp_path, kafka_bootstrap_servers="127.0.0.1:1", ingestion_kafka_seconds=1
    )
    make = producing.producer
    refused = []

    async def deliver() -> int:
        delivery = Delivery(settings)
        await delivery.start()

        def without_threads(*settings: Any, **overrides: Any) -> Any:
            if len(refused) < 2 and not overrides:  # the spool's own has some
                refused.append(True)
                raise KafkaException(KafkaError(KafkaError.UNKNOWN))
            return make(*settings, **overrides)

        monkeypatch.setattr(producing, "producer", without_threads)
        await asyncio.wait_for(delivery.deliver([Record("t", b"k", b"v", None)]), 30)
        kept = len(delivery.warnings())
        await delivery.close()
        return kept

    assert asyncio.run(deliver()) == 1
    assert len(refused) == 2
