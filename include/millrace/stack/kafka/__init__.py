"""Embedded Apache Kafka: one KRaft broker, run from jars that Maven resolves and checks."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from millrace.settings import REPOSITORY, Settings
from millrace.stack.server import Server, StackError, complete, find_program
from millrace.stores import kafka

HERE = Path(__file__).parent
JAVA_AT_LEAST = 17
JVMS = Path("/usr/lib/jvm")
PROPERTIES = """\
# Written by ./millrace up.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
offsets.topic.num.partitions=10
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.segment.bytes=268435456
log.retention.check.interval.ms=60000
"""


def jars() -> Path:
    """Return the folder of the broker's jars, named after the ``pom.xml`` it was resolved from."""
    digest = hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()[:12]
    return REPOSITORY / ".tools" / f"kafka-{digest}"


def ensure_jars() -> Path:
    """Resolve the broker's jars with Maven unless they are there.

    Raises ``StackError`` when Maven fails, with its own last error.
    """
    folder = jars()
    if folder.exists():
        return folder
    maven = find_program("mvn", package="maven")
    fresh = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.new")
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "-f", str(HERE / "pom.xml")]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        reason = re.sub(r"\x1b\[[0-9;]*m", "", lines[0] if lines else done.stderr.strip())
        raise StackError(
            f"Maven could not fetch Kafka's jars: {reason}\n"
            "Check the network (or the mirror in ~/.m2/settings.xml) and run the command again."
        )
    try:
        fresh.rename(folder)
    except OSError:  # another run was faster; its folder holds the same jars
        shutil.rmtree(fresh)
    return folder


def java() -> str:
    """Return the path of a Java that Kafka can run on.

    Raises ``StackError`` when there is none, or only an older one.
    """
    fix = f"install Java {JAVA_AT_LEAST} or newer: apt-get install openjdk-17-jre-headless"
    homes = sorted(JVMS.glob("*/bin"), reverse=True)
    found = "none"
    for program in [shutil.which("java"), *(str(home / "java") for home in homes)]:
        if program is None or not Path(program).exists():
            continue
        version = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
        match = re.search(r'version "(\d+)', version.stderr)
        if match and int(match[1]) >= JAVA_AT_LEAST:
            return program
        found = match[1] if match else found
    raise StackError(f"Kafka needs Java {JAVA_AT_LEAST}, and found is {found}; {fix}")


def server(settings: Settings) -> Server:
    """Describe the embedded Kafka broker."""
    folder = settings.home / "kafka"
    command = [java(), "-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
    command += ["-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={HERE}/log4j2.properties"]
    command += ["-cp", f"{jars()}/*"]

    def check() -> None:
        kafka.admin(settings).list_topics(timeout=3)

    return Server(
        name="kafka",
        command=[*command, "kafka.Kafka", str(folder / "server.properties")],
        check=check,
        directory=folder,
        port=settings.port("kafka"),
        addresses={
            "kafka": f"127.0.0.1:{settings.port('kafka')}",
            "controller": f"127.0.0.1:{settings.port('kafka_controller')}",
        },
        prepare=lambda: _prepare(settings, folder, command),
    )


def _prepare(settings: Settings, folder: Path, command: list[str]) -> None:
    ensure_jars()
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(
        PROPERTIES.format(
            port=settings.port("kafka"),
            controller_port=settings.port("kafka_controller"),
            folder=folder,
        )
    )
    if (folder / "data" / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # One argument, since one id in 64 begins with a hyphen.
    options = [f"--cluster-id={cluster_id}", "--config", str(properties), "--ignore-formatted"]
    complete(
        [*command, "kafka.tools.StorageTool", "format", *options],
        f"Kafka could not format {folder / 'data'}",
    )
