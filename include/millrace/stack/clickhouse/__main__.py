"""A ClickHouse server on a machine that has no ClickHouse: the one that chDB's library holds.

``python -m millrace.stack.clickhouse --path FOLDER`` loads the library's extension module (not the
package ``chdb``), writes the server's configuration, confines itself, and opens the listeners by
one statement that lasts as long as a FIFO has a writer. SIGTERM closes it, and the server ends in
good order. docs/decisions/0015-embedded-clickhouse.md says what it is and is not.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from pydantic import ValidationError

from millrace import waiting
from millrace.stack import exclusion
from millrace.stack.clickhouse import KEY, passwords, takeover
from millrace.stack.clickhouse.configuration import (
    ConfigurationError,
    Options,
    config_xml,
    users_xml,
)
from millrace.stack.clickhouse.confinement import confine
from millrace.stack.clickhouse.connections import hang_up
from millrace.stack.secrets import read as read_secrets
from millrace.stores import accounts

log = logging.getLogger("millrace.clickhouse")

START_SECONDS = 300
"""A server with many parts takes its time to open them."""


MOST_CONNECTIONS = 16_384
MAPS_PER_CONNECTION = 6
"""Memory maps of the thread that serves a connection, measured: 5.5 while it reads a request."""
MAPS_OF_OTHERS = 8_000


class _Door(BaseHTTPRequestHandler):
    """Lets the first who asks in as ``default``, and nobody after."""

    is_open = True

    def do_GET(self) -> None:
        status = 200 if _Door.is_open else 401
        _Door.is_open = False
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the server's own log has each login."""


class Refused(Exception):  # noqa: N818  the server's answer, not our error
    """The server ended instead of serving; the message is its own."""


def serve(options: Options, known: dict[str, str]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ``Refused`` with the server's reason if it ends by itself.
    """
    os.umask(0o077)
    options.path.mkdir(parents=True, exist_ok=True)
    try:
        lock = exclusion.hold(options.path / "lock")
    except exclusion.HeldError as error:
        raise ConfigurationError(
            f"the folder {options.path} is in use by process {error.holder}; stop it, or give "
            "another --path"
        ) from None
    os.chdir(options.path)
    os.environ["TMPDIR"] = str(options.path)  # the one folder that it will be able to write
    os.environ["TZ"] = "UTC"  # the library has no other setting of its time zone
    # A column of a micro-batch of long messages has 64 MiB: given back to the kernel at once, it
    # would be mapped page by page for each statement.
    os.environ["JE_MALLOC_CONF"] = "oversize_threshold:0"
    fifo = _prepare(options)
    door = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    files = {
        options.path / "config.xml": config_xml(options, door.server_port),
        options.path / "users.xml": users_xml(accounts.read(), passwords(known), options.base),
    }
    path = _find_library()
    if reason := confine(options.path):
        log.warning(
            "the kernel can't confine the server to its folder (%s): an account of ClickHouse can "
            "read the files that user %d may read. Linux 5.13 and later can.", reason, os.getuid(),
        )  # fmt: skip
    try:
        library = _load(path)
        # Makes the threads that BACKUP to S3 works with, which one-statement mode leaves unmade.
        library.connect(":memory:").close()
        _run(library, options, fifo, files)
    finally:
        os.close(lock)


def _prepare(options: Options) -> Path:
    """Clear away what an earlier process left, and return a FIFO to keep the server running."""
    data = options.path / "data"
    data.mkdir(exist_ok=True)
    if options.is_former:
        takeover.prepare(options.path)
    for logs in (data / "data" / "system", data / "disks/below/encrypted/data/system"):
        shutil.rmtree(logs, ignore_errors=True)  # their tables live as long as the process
    fifo = options.path / "running"
    for path in (fifo, options.path / "config.xml", options.path / "users.xml"):
        path.unlink(missing_ok=True)
    os.mkfifo(fifo)
    return fifo


def _run(library: ModuleType, options: Options, fifo: Path, files: dict[Path, str]) -> None:
    """Open the listeners, configured by ``files``, and keep them open until a signal comes."""
    for path, text in files.items():
        path.write_text(text)
    writer: list[int] = []
    said: list[str] = []
    ended = threading.Event()

    def hold() -> None:
        writer.append(os.open(fifo, os.O_WRONLY))  # waits for the reader

    def run() -> None:
        read = f"SELECT * FROM file('{fifo}', 'LineAsString')"  # noqa: S608  a path of ours
        statement = f"SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; {read}"
        try:
            library.query(statement, "TSV", path=str(options.path / "data"))
        except Exception as error:  # noqa: BLE001  the other thread raises it
            said.append(str(error))
        ended.set()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=hold, daemon=True).start()
    server = threading.Thread(target=run, daemon=True)
    with _standard_error(options.path / "start.log") as complaints:
        server.start()
        try:
            waiting.until(
                lambda: ended.is_set() or _listens(options.http_port),
                "the listeners to open",
                seconds=START_SECONDS,
                every=0.02,
            )
        finally:
            for path in files:
                path.unlink(missing_ok=True)  # never read again, and within reach of file()
        if ended.is_set():
            raise Refused(_first_sentence([*said, complaints.read_text(errors="replace")]))
    log.info("serving on http://127.0.0.1:%d", options.http_port)
    while not stop.wait(0.5) and not ended.is_set():
        pass
    if ended.is_set():
        raise Refused(_first_sentence(said))
    os.close(writer[0])
    _wait_for(server, options)


def _wait_for(server: threading.Thread, options: Options) -> None:
    while server.is_alive():
        hang_up({options.http_port, options.tcp_port})
        server.join(0.1)


def _raise_file_limit() -> int:
    """Let the server open as many files and sockets as the machine allows; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _most_connections() -> int:
    """Return how many connections the machine has files and memory maps for.

    Each holds a thread. A process that runs out of maps is ended by its next allocation.
    """
    maps = int(Path("/proc/sys/vm/max_map_count").read_text()) - MAPS_OF_OTHERS
    return min(MOST_CONNECTIONS, _raise_file_limit() * 3 // 4, maps // MAPS_PER_CONNECTION)


def _find_library() -> Path:
    package = find_spec("chdb")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError("the package chdb-core is not installed: run ./millrace up again")
    return Path(package.submodule_search_locations[0]) / "_chdb.abi3.so"


def _load(path: Path) -> ModuleType:
    loader = ExtensionFileLoader("_chdb", str(path))
    spec = spec_from_file_location("_chdb", path, loader=loader)
    assert spec is not None  # noqa: S101  a loader was given
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _standard_error(path: Path) -> Iterator[Path]:
    """Send to a file what the library writes to standard error, then to the log what came."""
    before = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield path
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.write(2, path.read_bytes())


def _first_sentence(said: list[str]) -> str:
    lines = [line.strip() for text in said for line in text.splitlines() if line.strip()]
    codes = [line for line in lines if line.startswith("Code:")]
    return ([*codes, *lines] or ["the server ended and did not say why"])[0][:500]


def main(
    path: Annotated[Path, typer.Option(help="The server's folder; one process at a time.")],
    http_port: Annotated[int, typer.Option(help="Port of the HTTP interface.")],
    tcp_port: Annotated[int, typer.Option(help="Port of the native protocol.")],
    secrets: Annotated[
        Path, typer.Option(help="File with the passwords and the key, as NAME=value lines.")
    ],
    base: Annotated[str, typer.Option(help="Name of Millrace's database.")] = "millrace",
    memory_mib: Annotated[int, typer.Option(help="Most memory; 0 is 90 % of the RAM.")] = 0,
) -> None:
    """Serve one folder over ClickHouse's HTTP and native protocols, on loopback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    known = read_secrets(secrets) | {
        name: value for name, value in os.environ.items() if name.startswith("MILLRACE_CLICKHOUSE")
    }
    try:
        options = Options(
            path=path.resolve(),
            http_port=http_port,
            tcp_port=tcp_port,
            base=base,
            key=known.get(KEY, ""),
            is_former=takeover.is_former(path.resolve()),
            memory=memory_mib << 20,
            connections=_most_connections(),
        )
        serve(options, known)
    except ValidationError as error:
        names = {"key": KEY}
        sys.exit(
            "ClickHouse can't be started: "
            + "; ".join(
                f"{names.get(str(e['loc'][0]), e['loc'][0])}: {e['msg']}" for e in error.errors()
            )
        )
    except (ConfigurationError, Refused, OSError, RuntimeError) as error:
        sys.exit(f"ClickHouse can't be started: {_first_sentence([str(error)])}")


if __name__ == "__main__":
    typer.run(main)
