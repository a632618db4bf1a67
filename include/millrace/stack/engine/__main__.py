"""Start the embedded ClickHouse server: ``python -m millrace.stack.engine --path DIR``."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import SecretStr, ValidationError

from millrace.stack.engine.app import App
from millrace.stack.engine.config import EngineConfig, User, read_users
from millrace.stack.engine.exchange import AbortedResponseError
from millrace.stack.engine.handles import HandlePool

PASSWORD_VARIABLE = "MILLRACE_CLICKHOUSE_PASSWORD"  # noqa: S105  the name, not the password
log = logging.getLogger("millrace.engine")


def lock(path: Path) -> int:
    """Take the data directory for this process and return the lock's descriptor.

    Raises ``SystemExit`` with a sentence if another process has it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode() or "unknown"
        raise SystemExit(
            f"The data directory {path} is in use by process {holder}. "
            "Stop it, or give another --path."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


class _Quiet(logging.Filter):
    """Keeps deliberately cut responses out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], AbortedResponseError))


def serve(config: EngineConfig) -> None:
    """Serve until SIGTERM or SIGINT, then let running queries finish and leave the process."""
    lock(config.path)
    configuration = config.path / "engine.xml"
    configuration.write_text(config.engine_xml())
    pool = HandlePool(f"{config.path / 'data'}?config-file={configuration}")
    # The first handle starts the engine; it has to stay open as long as the process serves.
    keeper = pool.open(User(name="keeper"))

    def leave(*_: object) -> None:
        keeper.close()
        logging.shutdown()
        # chDB's own tear-down at interpreter exit may crash or hang; all data is safe by now.
        os._exit(0)

    # uvicorn takes both signals over while it serves and raises them again when it has ended.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    logging.getLogger("uvicorn.error").addFilter(_Quiet())
    log.info("serving %s on http://%s:%d", config.path, config.host, config.port)
    uvicorn.run(
        App(config, pool),
        host=config.host,
        port=config.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        backlog=1024,
        timeout_keep_alive=300,
        timeout_graceful_shutdown=int(config.shutdown_seconds),
    )
    leave()


def main(
    path: Annotated[Path, typer.Option(help="The data directory; one process at a time.")],
    port: Annotated[int, typer.Option(help="Port of the HTTP interface.")] = 8123,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    user: Annotated[
        str, typer.Option(help=f"The main user; the password comes from {PASSWORD_VARIABLE}.")
    ] = "default",
    users: Annotated[
        Path | None, typer.Option(help="TOML file with further users, read-only ones included.")
    ] = None,
    max_concurrent: Annotated[int, typer.Option(help="Queries that run at once.")] = 16,
    max_queued: Annotated[int, typer.Option(help="Queries that wait for a place.")] = 256,
    memory_mib: Annotated[int, typer.Option(help="Cap on memory; 0 is 90 % of the RAM.")] = 0,
    shutdown_seconds: Annotated[float, typer.Option(help="Grace for running queries.")] = 20,
    fsync: Annotated[
        bool, typer.Option(help="Flush to the disk before an insert is acknowledged.")
    ] = False,
) -> None:
    """Serve one chDB data directory over the ClickHouse HTTP protocol."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        known = read_users(users) if users else {}
        password = SecretStr(os.environ.get(PASSWORD_VARIABLE, ""))
        known.setdefault(user, User(name=user, password=password))
        config = EngineConfig(
            path=path.resolve(),
            host=host,
            port=port,
            users=known,
            max_concurrent=max_concurrent,
            max_queued=max_queued,
            memory=memory_mib << 20,
            shutdown_seconds=shutdown_seconds,
            fsync=fsync,
        )
    except (ValidationError, ValueError, OSError) as error:
        sys.exit(f"The engine's settings do not fit: {error}")
    serve(config)


if __name__ == "__main__":
    typer.run(main)
