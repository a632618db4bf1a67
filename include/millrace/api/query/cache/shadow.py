"""The proof that the cache is right: one answer in a hundred is computed again and compared."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable

from millrace.api.http import ProblemError
from millrace.api.query.cache import metrics
from millrace.api.query.cache.generations import Generation, Generations
from millrace.api.query.warehouse import StatementError, WarehouseAwayError

log = logging.getLogger(__name__)

SHARE = 0.01


class Shadow:
    """Compares kept answers with computed ones, one at a time."""

    def __init__(self, generations: Generations, share: float = SHARE) -> None:
        self._generations = generations
        self._share = share
        self._is_busy = False

    def is_chosen(self, generation: Generation) -> bool:
        """Tell, by lot, whether to check an answer, which is then to be done.

        Only answers that must be equal are checked.
        """
        if self._is_busy or not generation.is_exact or random.random() >= self._share:  # noqa: S311
            return False
        self._is_busy = True
        return True

    async def differs(
        self,
        question: str,
        kept: bytes,
        generation: Generation,
        compute: Callable[[], Awaitable[bytes]],
        same: Callable[[bytes, bytes], bool],
    ) -> bool:
        """Compute an answer again; tell whether the one that was given is wrong.

        It is wrong only if nothing changed until after it was computed again.
        """
        try:
            computed = await compute()
            await self._generations.polled()
        except (WarehouseAwayError, StatementError, ProblemError):
            metrics.SHADOW_CHECKS.labels("failed").inc()
            return False
        finally:
            self._is_busy = False
        if self._generations.again(generation) != generation:
            metrics.SHADOW_CHECKS.labels("unsettled").inc()
            return False
        if same(kept, computed):
            metrics.SHADOW_CHECKS.labels("equal").inc()
            return False
        metrics.SHADOW_CHECKS.labels("different").inc()
        log.error(
            "The cache gave a wrong answer, generation %s of %s: please report it. "
            "Kept: %.500r. Computed: %.500r.",
            generation,
            question,
            kept,
            computed,
        )
        return True
