"""What several tests of objectives start from."""

from __future__ import annotations

import pytest

from leti_opt import LatencyStore
from tests.objective.changed_device import OLD, ChangedDevice


@pytest.fixture
def store() -> LatencyStore:
    return LatencyStore(":memory:")


@pytest.fixture
def old() -> ChangedDevice:
    """A device as it was before its kernel changed."""
    return ChangedDevice(OLD)
