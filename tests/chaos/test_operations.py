"""Random sequences of operations: what is promised of each pair holds after all of them."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from millrace.lab.chaos import campaign
from millrace.lab.operations import promises, sequences
from millrace.lab.operations.model import OPEN
from millrace.lab.operations.world import World

SEQUENCES, STEPS = 2, 5


@pytest.mark.timeout(900)
def test_every_promise_holds_after_random_sequences_of_operations() -> None:
    done = sequences.run(SEQUENCES, 7, print, steps=STEPS, is_shrunk=False)
    assert done.said == "", "\n".join([*done.typed, done.said])
    assert (done.sequences, done.operations > 0) == (SEQUENCES, True)


@pytest.mark.timeout(600)
def test_who_was_erased_may_send_again(tmp_path: Path) -> None:
    """What is of the time before the order is left out, also if it comes later; the rest stays."""
    with ExitStack() as resources:
        world = World(tmp_path / "home", dict(campaign.ENVIRONMENT), resources, random.Random(7))
        world.send(0, OPEN, 0, 8)
        world.load()
        (user_id,) = world.model.users
        world.erase(user_id)
        world.send(0, OPEN, 0, 20)
        world.send(0, OPEN, 2, 3)
        for finish in (world.load, world.build, world.audit, world.export):
            finish()
        assert promises.broken(world) == []
        erasure = world.model.erasures[user_id]
        assert len(erasure.event_ids) + len(world.model.messages) == 31
        assert len(erasure.event_ids) > 11
