from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leti_opt.store import LatencyStore
from tests.contracts.shared_store_contract import clock  # noqa: F401 - a fixture that the contract asks for
from tests.contracts.store_contract import StoreContract


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LatencyStore]:
        with LatencyStore(tmp_path / "latency.db") as opened:
            yield opened


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[LatencyStore]:
        with LatencyStore(":memory:") as opened:
            yield opened


@pytest.mark.needs("postgresql")
class TestPostgresqlStore(StoreContract):
    @pytest.fixture
    def store(self, postgresql_url: str) -> Iterator[LatencyStore]:
        with LatencyStore(postgresql_url, patience_s=5) as opened:
            yield opened
