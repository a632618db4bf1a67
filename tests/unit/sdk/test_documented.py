"""docs/clients.md: its program sends what it says, its tag and its table are of what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from tests.conformance.clients import CLIENTS
from tests.helpers import documentation, proxy
from tests.helpers.documentation import ROOT
from tests.helpers.proxy import Reply, Sent

PAGE = "docs/clients.md"


def test_the_program_sends_an_event() -> None:
    (program,) = documentation.blocks(PAGE, "python")

    def accept(_sent: Sent) -> Reply:
        return Reply(200, {"status": "accepted", "count": 1, "accepted": 1, "rejected": []})

    with proxy.running(judge=accept) as api:
        variables = os.environ | {
            "PYTHONPATH": str(ROOT / "sdk" / "python" / "src"),
            "MILLRACE_URL": api.url,
            "MILLRACE_KEY": "a-key",
        }
        subprocess.run([sys.executable, "-c", program], env=variables, check=True, timeout=60)
        (sent,) = api.posts("/v1/events")
    assert sent.headers["authorization"] == "Bearer a-key"
    event = json.loads(sent.body)
    assert (event["event"], event["user_id"], event["amount"]) == ("purchase", 424242, 49.9)


def test_the_tag_calls_what_the_script_has() -> None:
    (tag,) = documentation.blocks(PAGE, "html")
    script = ROOT / "include" / "millrace" / "api" / "ingestion" / "static" / "m.js"
    assert "/m.js" in tag
    for method in re.findall(r"millrace\.(\w+)\(", tag):
        assert re.search(rf"\b{method}\b", script.read_text())


def test_every_client_that_is_tried_is_named() -> None:
    said = (ROOT / PAGE).read_text().lower()
    tried = {client.name.partition("_")[0] for client in CLIENTS}
    tried.remove("cloudevents")  # makes messages, and sends none
    assert {name for name in tried if name not in said} == set()


DRIVERS = re.sub(
    r"\s+",
    " ",
    "".join(
        (ROOT / "tests" / "conformance" / name).read_text()
        for name in ("python/send.py", "node/send.mjs", "node/browser.mjs")
    ),
)


@pytest.mark.parametrize(
    "line",
    [
        line
        for language in ("python", "javascript")
        for block in documentation.blocks("docs/ingestion-api.md", language)
        for line in block.splitlines()
    ],
)
def test_an_sdk_is_pointed_as_it_is_tried(line: str) -> None:
    """By the same names: ``host=url`` in the document is ``host=url`` in what tries the SDK."""
    code, package = re.split(r"  (?:#|//) ", line)
    callee = re.match(r"(?:new )?[\w.]+\(", code)
    assert callee
    assert callee[0] in DRIVERS
    named = re.findall(r"\b(\w+)(?:=|: )(url|key|f?[\"`]\$?\{[^\"`]*[\"`])", code)
    for name, value in named:
        pattern = rf"\b{name}(?:=|: ){re.escape(value)}"
        assert re.search(pattern, DRIVERS), f"{name} of {package}"
    assert named or "key" in code
