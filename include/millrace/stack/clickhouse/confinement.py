"""What the server's process may touch on the disk, held by the kernel (Landlock).

The scalar function ``file()`` of the library reads any file that its process may open, whatever
the grants of who calls it. So the process gives up, before it loads the library, every file but
those that a server needs.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from landlock import FSAccess, LandlockError, Ruleset

from millrace.stores.errors import first_line

READ_FOLDERS = (
    "/usr", "/lib", "/lib64", "/sys/fs/cgroup", "/sys/devices", "/etc/ssl", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/timezone", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf",
    "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/dev/urandom", "/dev/null",
)  # fmt: skip
"""Libraries, time zones, and what looks a host name up: nothing in them is a secret."""

PROCESS_FILES = (
    "self/maps", "self/status", "self/stat", "self/statm", "self/cgroup", "self/mounts",
    "self/mountinfo", "self/auxv", "meminfo", "cpuinfo", "stat", "loadavg",
)  # fmt: skip
"""Of /proc what a server measures itself by; the environment and the memory are not among it.

Without ``auxv`` the library looks for the auxiliary vector behind the environment, where it lies
only until a variable is set: it then reads whatever lies there, and crashes at some of its starts
(``base/glibc-compatibility/musl/getauxval.c`` in ClickHouse's sources).
"""


def confine(folder: Path) -> str:
    """Give up every file outside ``folder`` but what a server needs.

    Returns why the kernel can't hold it, empty when it does. Files that are open stay so.
    """
    try:
        rules = Ruleset()
        reading = FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.EXECUTE
        _allow(rules, reading, [*READ_FOLDERS, *_python(), *_process()])
        _allow(rules, FSAccess.READ_FILE | FSAccess.WRITE_FILE, ["/dev/null"])
        rules.allow(folder, rules=FSAccess.all())
        rules.apply()
    except (LandlockError, OSError) as error:
        return first_line(error)
    return ""


def _allow(rules: Ruleset, access: FSAccess, paths: Iterable[str | Path]) -> None:
    for path in map(Path, paths):
        if path.is_dir():
            rules.allow(path, rules=access)
        elif path.exists():
            rules.allow(path, rules=access & FSAccess.all_file())


def _python() -> set[str]:
    paths = sysconfig.get_paths()
    return {sys.prefix, sys.base_prefix, paths["purelib"], paths["platlib"]}


def _process() -> list[str]:
    return [f"/proc/{name}" for name in PROCESS_FILES]
