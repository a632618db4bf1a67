"""How the clients of ``clients.py`` are run: by their driver, or in a page of a browser."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.conformance.clients import Client
from tests.helpers import browser, proxy, toolchains
from tests.helpers.proxy import Reply, Sent


def run(client: Client, told: Mapping[str, Any]) -> None:
    """Have a client of Python or Node send each case: its ``url``, ``key`` and ``events``."""
    if client.where == "python":
        driver = [str(toolchains.clients_python()), str(toolchains.PYTHON / "send.py")]
    else:
        driver = [toolchains.node_packages(toolchains.NODE), str(toolchains.NODE / "send.mjs")]
    done = subprocess.run(
        [*driver, client.name], input=json.dumps(told), capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{client}: {done.stdout}{done.stderr}"


@contextmanager
def in_browser(client: Client, told: Mapping[str, Any]) -> Iterator[None]:
    """Have a page of another origin send, each case in a profile of its own; open for the block."""
    node = toolchains.node_packages(toolchains.NODE)
    bundle = subprocess.run(
        [node, "node_modules/.bin/esbuild", "browser.mjs", "--bundle", "--format=iife"],
        cwd=toolchains.NODE, capture_output=True, check=True,
    ).stdout  # fmt: skip

    def shop(sent: Sent) -> Reply:
        if sent.path == "/bundle.js":
            return Reply(text=bundle, kind="text/javascript; charset=utf-8")
        page = "<!doctype html><meta charset=utf-8><script src=/bundle.js></script>"
        return Reply(text=page, kind="text/html")

    with browser.running() as chromium, proxy.running(judge=shop) as site:
        for case in told.values():
            page = chromium.open()
            page.goto(site.url)
            given = json.dumps([client.name, case["url"], case["key"], case["events"]])
            page.run(f"void send(...{given})")
        yield
