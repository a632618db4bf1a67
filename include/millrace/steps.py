"""Steps of work that run side by side, each as soon as those that it waits for are done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass


class StepError(RuntimeError):
    """A step failed; the message says why and what to do next."""


@dataclass(frozen=True)
class Step:
    """A named piece of work that begins when the steps it comes ``after`` are done."""

    name: str
    run: Callable[[], object]
    after: tuple[str, ...] = ()


def run(plan: list[Step], report: Callable[[str, str], None] = lambda _name, _state: None) -> None:
    """Run steps side by side, each as soon as those before it are done.

    A step stands after those that it waits for. ``report`` gets a step's name and its state,
    ``"running"``, ``"done"``, ``"failed"`` or ``"skipped"`` (one
    before it failed). Raises ``StepError``, the first one, after the steps under way have ended.
    """
    pool = ThreadPoolExecutor(max_workers=len(plan))
    futures: dict[str, Future[None]] = {}

    def perform(step: Step) -> None:
        for name in step.after:
            if futures[name].exception() is not None:
                report(step.name, "skipped")
                raise futures[name].exception()  # type: ignore[misc]
        report(step.name, "running")
        try:
            step.run()
        except StepError:
            report(step.name, "failed")
            raise
        except Exception as error:
            report(step.name, "failed")
            reason = str(error).strip() or type(error).__name__
            raise StepError(f"{step.name}: {reason}") from error
        report(step.name, "done")

    for step in plan:
        futures[step.name] = pool.submit(perform, step)
    try:
        wait(futures.values())
    finally:  # an interruption does not wait for steps under way
        pool.shutdown(wait=False, cancel_futures=True)
    for future in futures.values():
        future.result()
