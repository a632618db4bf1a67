"""Builds the package with what its code reads beside it; the rest is in ``pyproject.toml``."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESOURCES = (
    "dbt", "docs/runbooks", "expectations", "include/migrations", "include/seeds", "include/sql",
)  # fmt: skip
MADE = shutil.ignore_patterns("__pycache__", "dbt_packages", "logs", "target")


class BuildWithResources(build_py):
    """Copies the folders to ``millrace/_project``, laid out as in a checkout."""

    def run(self) -> None:
        """Build; an editable installation reads the checkout's own folders."""
        super().run()
        if self.editable_mode:
            return
        for folder in RESOURCES:
            target = Path(self.build_lib, "millrace", "_project", folder)
            shutil.copytree(folder, target, ignore=MADE, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithResources})
