"""Sequences of operations, drawn and shrunk by Hypothesis' stateful testing.

Source: https://hypothesis.readthedocs.io/en/latest/stateful.html
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
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
HELPERS = ("backup_gateway", "wal_archiver")

Say = Callable[[str], None]


class BrokenPromise(AssertionError):  # noqa: N818  what the campaign looks for, no error of ours
    """A promise that does not hold after a sequence; its message has both."""


@dataclass
class Campaign:
    """What was tried; ``typed`` is the shortest sequence that broke a promise, and ``said`` how."""

    sequences: int = 0
    operations: int = 0
    typed: list[str] = field(default_factory=list)
    said: str = ""


def run(count: int, seed: int, say: Say, *, steps: int = STEPS) -> Campaign:
    """Try ``count`` sequences, each on a stack of its own; stop at one that breaks a promise.

    ``say`` is told of every sequence. Every stack begins as a copy of one with deployed models.
    """
    done = Campaign()
    with tempfile.TemporaryDirectory(prefix="millrace-operations-") as folder:
        template = Path(folder) / "template"
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        template.mkdir()
        with stacks.running(template, with_airflow=False, **campaign.ENVIRONMENT) as stack:
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
                    phases=(Phase.generate, Phase.shrink),
                    verbosity=Verbosity.quiet,
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                ),
            )
        except BrokenPromise as error:
            done.said = str(error)
    return done


def _machine(template: Path, done: Campaign, say: Say) -> type[stateful.RuleBasedStateMachine]:
    """Return the state machine that works on copies of a stack's folder."""

    class Operations(stateful.RuleBasedStateMachine):
        """One sequence."""

        def __init__(self) -> None:
            super().__init__()
            self.resources = ExitStack()
            home = Path(self.resources.enter_context(_folder())) / "home"
            subprocess.run(["cp", "-a", str(template), str(home)], check=True)
            stack = self.resources.enter_context(
                stacks.running(home, with_airflow=False, **campaign.ENVIRONMENT)
            )
            # A restore finds its stack as the command does.
            self.resources.enter_context(stacks.variables(stack.environment))
            for name in HELPERS:
                stack.start(name)
                stack.wait_healthy(name)
            done.sequences += 1
            self.world = World(stack, random.Random(done.sequences))

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

        def _do(self, operation: Callable[..., None], *arguments: Any, **named: Any) -> None:
            try:
                operation(*arguments, **named)
            except Exception as error:  # whatever it is, it is what is looked for
                done.typed = [*self.world.typed, f"# {operation.__name__}{arguments or named}"]
                raise BrokenPromise(f"{operation.__name__}: {error!r}") from error

        def teardown(self) -> None:
            is_over = sys.exc_info()[0] is None
            try:
                if is_over:
                    self._judge()
            finally:
                self.resources.close()

        def _judge(self) -> None:
            world = self.world
            done.operations += len(world.typed) - 1
            say(f"{done.sequences:>4}  {len(world.typed) - 1} operations")
            for operation in (world.load, world.build, world.audit, world.export):
                self._do(operation)
            if found := promises.broken(world):
                done.typed = list(world.typed)
                raise BrokenPromise("\n".join(found))

    return Operations


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="millrace-sequence-") as folder:
        Path(folder).chmod(0o755)
        yield folder


def _has_loaded(world: World) -> bool:
    return any(m.verdict is not Verdict.QUEUED for m in world.model.messages)
