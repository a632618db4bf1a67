"""A real Chromium, and pages in it, driven by playwright-core in a process of Node's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.helpers import toolchains


class Page:
    """A page in a browser profile of its own, or beside another page in that one's."""

    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self.number = number

    def goto(self, url: str) -> None:
        """Go to an address, leaving the page before."""
        self._browser.ask("goto", page=self.number, url=url)

    def fill(self, selector: str, value: str) -> None:
        """Write into a field once it is there."""
        self._browser.ask("fill", page=self.number, selector=selector, value=value)

    def click(self, selector: str) -> None:
        """Click on what can be clicked, once it is there."""
        self._browser.ask("click", page=self.number, selector=selector)

    def arrive(self, url: str) -> None:
        """Wait until the page has come to an address and is loaded."""
        self._browser.ask("arrive", page=self.number, url=url)

    def back(self) -> None:
        """Go back in the history."""
        self._browser.ask("back", page=self.number)

    def run(self, script: str) -> Any:
        """Run a script in the page; return what it says, awaited."""
        return self._browser.ask("evaluate", page=self.number, script=script)

    def be_offline(self, is_offline: bool = True) -> None:
        """Take the network away, or give it back."""
        self._browser.ask("offline", page=self.number, value=is_offline)


class Browser:
    """Chromium."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def open(self, init: str = "", beside: Page | None = None, agent: str = "") -> Page:
        """Open a page; ``init`` runs in every page of its profile before anything else.

        ``agent`` is the profile's user agent, in place of Chromium's own.
        """
        sibling = {} if beside is None else {"sibling": beside.number}
        own = {"userAgent": agent} if agent else {}
        return Page(self, self.ask("open", init=init, profile=own, **sibling))

    def close(self, page: Page) -> None:
        """Close a page's profile."""
        self.ask("close", page=page.number)

    def ask(self, command: str, **given: Any) -> Any:
        """Have the driver do something; return its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]


@contextmanager
def running() -> Iterator[Browser]:
    """Run Chromium; skip the test where it is missing."""
    chromium = toolchains.need("chromium", "chromium")
    node = toolchains.node_packages(toolchains.NODE)
    command = [node, str(toolchains.NODE / "chromium.mjs"), chromium]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Browser(process)
        assert process.stdin
        process.stdin.close()
        process.wait(30)
