"""Devices that run networks and time them, and the protocol that decides when a measurement holds."""

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import DeviceRow, list_devices, open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import building_on_host, hold
from leti_opt.device.run_batch import RunBatch

__all__ = [
    "Device",
    "DeviceEpoch",
    "DeviceIdentity",
    "DeviceRow",
    "MeasurableModel",
    "Measurement",
    "MeasurementProtocol",
    "Metric",
    "RunBatch",
    "Session",
    "building_on_host",
    "hold",
    "list_devices",
    "measure",
    "open_device",
]
