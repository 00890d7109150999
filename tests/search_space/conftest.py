"""A cache of tables for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's cache."""
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
