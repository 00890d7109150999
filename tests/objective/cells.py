"""Cells and objectives that the tests of this folder share."""

from __future__ import annotations

from typing import Any

from leti_opt import Architecture, DeviceLatencyObjective, LatencyStore, NetworkConfig
from leti_opt.device.device import Device

NETWORK = NetworkConfig.small(filters=8)
POOL = Architecture.parse("0-1,1-2:maxpool3x3")
CONV = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
DEEP = Architecture.parse("0-1,1-2,2-3:conv3x3-bn-relu,conv3x3-bn-relu")


def objective_on(
    device: Device | str, store: LatencyStore | str = ":memory:", **settings: Any
) -> DeviceLatencyObjective:
    return DeviceLatencyObjective(device, NETWORK, store=store, **settings)
