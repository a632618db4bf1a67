"""Other people's clients against the embedded ClickHouse server, with their default settings.

The programs in ``clickhouse/`` connect as ``millrace`` and as ``reader``; each prints a line for
every check. Versions are pinned in their ``go.mod`` and ``pom.xml``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from millrace.lab.engines import Engine, password

PROGRAMS = Path(__file__).with_name("clickhouse")


def environment(server: Engine) -> dict[str, str]:
    return os.environ | {
        "CLICKHOUSE_HTTP_ADDRESS": f"127.0.0.1:{server.port}",
        "CLICKHOUSE_NATIVE_ADDRESS": f"127.0.0.1:{server.native_port}",
        "CLICKHOUSE_PASSWORD": password("millrace"),
        "CLICKHOUSE_READER_PASSWORD": password("reader"),
    }


def run(command: list[str], folder: Path, variables: dict[str, str] | None = None) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(output: str) -> set[str]:
    return {line.removeprefix("ok ") for line in output.splitlines() if line.startswith("ok ")}


@pytest.mark.timeout(900)  # the first run compiles what the driver is made of
@pytest.mark.skipif(not shutil.which("go"), reason="needs Go: apt-get install golang-go")
def test_clickhouse_go(server: Engine, tmp_path: Path) -> None:
    binary = tmp_path / "conformance"
    run(["go", "build", "-mod=readonly", "-o", str(binary), "."], PROGRAMS / "go")
    checks = passed(run([str(binary)], tmp_path, environment(server)))
    for method in ("none", "lz4", "lz4hc", "zstd"):
        assert f"native-{method} rows come back as they went in" in checks
    for method in ("none", "lz4", "zstd", "gzip", "deflate", "br"):
        assert f"http-{method} rows come back as they went in" in checks
    assert {"native reader", "native cancel", "http reader", "http cancel"} <= checks


@pytest.mark.timeout(900)  # the first run fetches what the driver is made of
@pytest.mark.skipif(
    not (shutil.which("mvn") and shutil.which("javac")),
    reason="needs Maven and a JDK: apt-get install maven openjdk-17-jdk-headless",
)
def test_clickhouse_jdbc(server: Engine, tmp_path: Path) -> None:
    jars = tmp_path / "classpath"
    resolve = ["mvn", "--batch-mode", "--quiet", "--strict-checksums"]
    resolve += ["dependency:build-classpath", f"-Dmdep.outputFile={jars}"]
    run(resolve, PROGRAMS / "java")
    program = ["java", "-cp", jars.read_text(), str(PROGRAMS / "java" / "Conformance.java")]
    checks = passed(run(program, tmp_path, environment(server)))
    assert {"jdbc every column type", "jdbc cancel", "jdbc reader is refused"} <= checks
