"""Where this package keeps what it can make anew: enumerated spaces and random weights."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_VARIABLE = "LETI_CACHE_DIR"


def cache_folder() -> Path:
    """The folder that the variable ``LETI_CACHE_DIR`` names, or the user's cache folder, resolved.

    It may not be there yet.
    """
    import platformdirs

    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("leti_opt")
    return folder.resolve()  # a relative one must mean the same after a change of folder
