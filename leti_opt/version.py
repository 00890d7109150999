"""Which leti_opt this is, for the record of every measurement."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def version() -> str:
    """Version of the installed package."""
    return metadata.version("leti_opt")


@cache
def source_commit() -> str | None:
    """Commit of the checkout that the package runs from, ``-dirty`` added where it was changed.

    None for an installed package, where there is no checkout, or without git.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
