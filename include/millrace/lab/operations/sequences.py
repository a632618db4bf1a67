"""Sequences of operations, drawn and shrunk by Hypothesis' stateful testing.

Source: https://hypothesis.readthedocs.io/en/latest/stateful.html
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, stateful
from hypothesis import strategies as st

from millrace.lab import stacks
from millrace.lab.chaos import campaign
from millrace.lab.operations import promises
from millrace.lab.operations.model import BLOCKED, OPEN, Verdict
from millrace.lab.operations.world import World
from millrace.transform import deploy

STEPS = 8
USERS = 3
CHANGES: tuple[dict[str, str], ...] = (
    {},
    {"MILLRACE_TOPIC_PARTITIONS": "8"},
    {"MILLRACE_INGEST_TASKS": "1"},
    {"MILLRACE_RAW_RETENTION_DAYS": "30"},
    {"MILLRACE_EVENTS_RETENTION_DAYS": "100"},
)
"""Settings that a stack with data may be given."""

Say = Callable[[str], None]


class BrokenPromise(AssertionError):  # noqa: N818  what the campaign looks for, no error of ours
    """A promise that does not hold after a sequence; its message has both."""


@dataclass
class Campaign:
    """What was tried; ``typed`` is the shortest sequence that broke a promise, and ``said`` how.

    ``seconds`` are what each kind of operation took together.
    """

    sequences: int = 0
    operations: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    typed: list[str] = field(default_factory=list)
    said: str = ""


def run(count: int, seed: int, say: Say, *, steps: int = STEPS, is_shrunk: bool = True) -> Campaign:
    """Try ``count`` sequences, each on a stack of its own; stop at one that breaks a promise.

    It is shrunk, which takes minutes, unless ``is_shrunk`` says otherwise. ``say`` is told of every
    sequence. Every stack begins as a copy of one with deployed models.
    """
    done = Campaign()
    with tempfile.TemporaryDirectory(prefix="millrace-operations-") as folder:
        template = Path(folder) / "template"
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        template.mkdir()
        with stacks.running(
            template, with_airflow=False, with_apis=False, **campaign.ENVIRONMENT
        ) as stack:
            deploy.deploy(stack.settings)
        machine = hypothesis.seed(seed)(_machine(template, done, say))
        try:
            stateful.run_state_machine_as_test(
                machine,
                settings=hypothesis.settings(
                    max_examples=count,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate, *([Phase.shrink] if is_shrunk else [])),
                    verbosity=Verbosity.quiet,
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                ),
            )
        except BrokenPromise as error:
            done.said = str(error)
        except hypothesis.errors.Flaky:
            done.said = f"{done.said}\n(but it held when the sequence was tried again)"
    return done


def _machine(template: Path, done: Campaign, say: Say) -> type[stateful.RuleBasedStateMachine]:
    """Return the state machine that works on copies of a stack's folder."""

    class Operations(stateful.RuleBasedStateMachine):
        """One sequence."""

        def __init__(self) -> None:
            super().__init__()
            self.began = time.monotonic()
            self.resources = ExitStack()
            home = Path(self.resources.enter_context(_folder())) / "home"
            subprocess.run(["cp", "-a", str(template), str(home)], check=True)
            done.sequences += 1
            rng = random.Random(done.sequences)
            self.world = World(home, dict(campaign.ENVIRONMENT), self.resources, rng)
            done.seconds["start"] += time.monotonic() - self.began

        @stateful.rule(
            user=st.integers(0, USERS - 1),
            page=st.sampled_from((OPEN, BLOCKED)),
            hours_ago=st.sampled_from((0, 2, 26)),
            count=st.integers(1, 20),
        )
        def send(self, user: int, page: str, hours_ago: int, count: int) -> None:
            self._do(self.world.send, user, page, hours_ago, count)

        @stateful.rule()
        def load(self) -> None:
            self._do(self.world.load)

        @stateful.rule(is_enforced=st.booleans())
        def switch_rule(self, is_enforced: bool) -> None:
            self._do(self.world.switch_rule, is_enforced=is_enforced)

        @stateful.precondition(lambda self: _has_loaded(self.world))
        @stateful.rule(days_ago=st.integers(0, 1))
        def rebuild(self, days_ago: int) -> None:
            self._do(self.world.rebuild, days_ago)

        @stateful.rule(how=st.sampled_from(("well", "broken", "killed")))
        def deploy(self, how: str) -> None:
            self._do(self.world.deploy, how)

        @stateful.rule()
        def replay(self) -> None:
            self._do(self.world.replay)

        @stateful.rule(is_high=st.booleans())
        def judge_alerts(self, is_high: bool) -> None:
            self._do(self.world.judge_alerts, is_high=is_high)

        @stateful.rule(is_active=st.booleans())
        def switch_route(self, is_active: bool) -> None:
            self._do(self.world.switch_route, is_active=is_active)

        @stateful.rule()
        def build(self) -> None:
            self._do(self.world.build)

        @stateful.rule()
        def audit_and_export(self) -> None:
            self._do(self.world.audit)
            self._do(self.world.export)

        @stateful.precondition(lambda self: bool(self.world.model.users))
        @stateful.rule(data=st.data())
        def erase(self, data: st.DataObject) -> None:
            user_id = data.draw(st.sampled_from(self.world.model.users))
            self._do(self.world.load)
            self._do(self.world.erase, user_id)

        @stateful.rule()
        def back_up(self) -> None:
            self._do(self.world.back_up)

        @stateful.precondition(lambda self: bool(self.world.model.backups))
        @stateful.rule(back=st.integers(0, 6))
        def restore(self, back: int) -> None:
            self._do(self.world.restore, back)

        @stateful.rule(partitions=st.integers(1, 8))
        def remake_topic(self, partitions: int) -> None:
            self._do(self.world.remake_topic, partitions)

        @stateful.rule()
        def restart(self) -> None:
            self._do(self.world.restart)

        @stateful.rule(changes=st.sampled_from(CHANGES))
        def change_settings(self, changes: dict[str, str]) -> None:
            self._do(self.world.change_settings, changes)

        def _do(self, operation: Callable[..., None], *arguments: Any, **named: Any) -> None:
            began = time.monotonic()
            try:
                operation(*arguments, **named)
            except Exception as error:  # whatever it is, it is what is looked for
                done.typed = [*self.world.typed, f"# {operation.__name__}{arguments or named}"]
                done.said = f"{operation.__name__}: {error!r}"
                raise BrokenPromise(done.said) from error
            finally:
                done.seconds[operation.__name__] += time.monotonic() - began

        def teardown(self) -> None:
            is_over = sys.exc_info()[0] is None
            try:
                if is_over:
                    self._judge()
            finally:
                began = time.monotonic()
                self.resources.close()
                done.seconds["stop"] += time.monotonic() - began
                seconds = time.monotonic() - self.began
                say(f"{done.sequences:>4}  {len(self.world.typed) - 1} operations, {seconds:.0f} s")

        def _judge(self) -> None:
            world = self.world
            done.operations += len(world.typed) - 1
            self._do(world.judge_alerts, is_high=False)
            for operation in (world.load, world.build, world.audit, world.export):
                self._do(operation)
            began = time.monotonic()
            found = promises.broken(world)
            done.seconds["judge"] += time.monotonic() - began
            if found:
                done.typed, done.said = list(world.typed), "\n".join(found)
                raise BrokenPromise(done.said)

    return Operations


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="millrace-sequence-") as folder:
        Path(folder).chmod(0o755)
        yield folder


def _has_loaded(world: World) -> bool:
    return any(m.verdict is not Verdict.QUEUED for m in world.model.messages)
