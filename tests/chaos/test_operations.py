"""Random sequences of operations: what is promised of each pair holds after all of them."""

from __future__ import annotations

import pytest

from millrace.lab.operations import sequences

SEQUENCES, STEPS = 2, 5


@pytest.mark.timeout(900)
def test_every_promise_holds_after_random_sequences_of_operations() -> None:
    done = sequences.run(SEQUENCES, 7, print, steps=STEPS, is_shrunk=False)
    assert done.said == "", "\n".join([*done.typed, done.said])
    assert (done.sequences, done.operations > 0) == (SEQUENCES, True)
