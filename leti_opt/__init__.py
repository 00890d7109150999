"""Measured latency of neural networks as an objective for nevergrad.

Public names are loaded on first use, so that importing the package is quick and imports no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leti_opt.accuracy.training import DigitsAccuracy as DigitsAccuracy
    from leti_opt.architecture import Architecture as Architecture
    from leti_opt.architecture_table import ArchitectureTable as ArchitectureTable
    from leti_opt.campaign.block_study import BlockStudy as BlockStudy
    from leti_opt.campaign.dataset import DatasetCampaign as DatasetCampaign
    from leti_opt.campaign.definition import CampaignDefinition as CampaignDefinition
    from leti_opt.campaign.lut_study import LutStudy as LutStudy
    from leti_opt.device.measurement import Measurement as Measurement
    from leti_opt.device.model import MeasurableModel as MeasurableModel
    from leti_opt.device.open_device import open_device as open_device
    from leti_opt.device.protocol import MeasurementProtocol as MeasurementProtocol
    from leti_opt.device.protocol import measure as measure
    from leti_opt.network.assembly import build_layer_graph as build_layer_graph
    from leti_opt.network.config import NetworkConfig as NetworkConfig
    from leti_opt.network.cost import network_cost as network_cost
    from leti_opt.network.gpu_support import gpu_support as gpu_support
    from leti_opt.network.keras_model import build_keras_model as build_keras_model
    from leti_opt.network.operations import Operation as Operation
    from leti_opt.network.table_cost import TableCost as TableCost
    from leti_opt.network.table_gpu_support import gpu_support_mask as gpu_support_mask
    from leti_opt.network.tflite_converter import convert_tflite as convert_tflite
    from leti_opt.network.tflite_reader import read_tflite as read_tflite
    from leti_opt.network.tflite_writer import write_tflite as write_tflite
    from leti_opt.objective.accuracy_latency import AccuracyLatencyObjective as AccuracyLatencyObjective
    from leti_opt.objective.active import fit_actively as fit_actively
    from leti_opt.objective.adaptation import adapt as adapt
    from leti_opt.objective.latency import DeviceLatencyObjective as DeviceLatencyObjective
    from leti_opt.objective.latency import LatencyObjective as LatencyObjective
    from leti_opt.objective.limit_decisions import LimitRow as LimitRow
    from leti_opt.objective.limit_decisions import decide_limits as decide_limits
    from leti_opt.objective.limits import LatencyLimit as LatencyLimit
    from leti_opt.objective.surrogate import SurrogateObjective as SurrogateObjective
    from leti_opt.predictor.better_flops import BetterFlopsPredictor as BetterFlopsPredictor
    from leti_opt.predictor.boosted_trees import BoostedTreesPredictor as BoostedTreesPredictor
    from leti_opt.predictor.flops import FlopsPredictor as FlopsPredictor
    from leti_opt.predictor.gcn import GcnPredictor as GcnPredictor
    from leti_opt.predictor.kernel_model import KernelPredictor as KernelPredictor
    from leti_opt.predictor.lut import LatencyTable as LatencyTable
    from leti_opt.predictor.lut_predictor import LutPredictor as LutPredictor
    from leti_opt.predictor.predictor import LatencyPredictor as LatencyPredictor
    from leti_opt.predictor.predictor import load_predictor as load_predictor
    from leti_opt.predictor.selection import select as select
    from leti_opt.predictor.transfer import TransferPredictor as TransferPredictor
    from leti_opt.search_space.definition import NAS_BENCH_101 as NAS_BENCH_101
    from leti_opt.search_space.definition import NAS_BENCH_201 as NAS_BENCH_201
    from leti_opt.search_space.definition import SpaceDefinition as SpaceDefinition
    from leti_opt.search_space.enumeration import enumerate_architectures as enumerate_architectures
    from leti_opt.search_space.parametrization import ArchitectureSpace as ArchitectureSpace
    from leti_opt.search_space.size import estimate_size as estimate_size
    from leti_opt.store.latency_store import LatencyStore as LatencyStore

_HOME = {
    "AccuracyLatencyObjective": "leti_opt.objective.accuracy_latency",
    "Architecture": "leti_opt.architecture",
    "ArchitectureSpace": "leti_opt.search_space.parametrization",
    "ArchitectureTable": "leti_opt.architecture_table",
    "BetterFlopsPredictor": "leti_opt.predictor.better_flops",
    "BlockStudy": "leti_opt.campaign.block_study",
    "BoostedTreesPredictor": "leti_opt.predictor.boosted_trees",
    "CampaignDefinition": "leti_opt.campaign.definition",
    "DatasetCampaign": "leti_opt.campaign.dataset",
    "DeviceLatencyObjective": "leti_opt.objective.latency",
    "DigitsAccuracy": "leti_opt.accuracy.training",
    "FlopsPredictor": "leti_opt.predictor.flops",
    "GcnPredictor": "leti_opt.predictor.gcn",
    "KernelPredictor": "leti_opt.predictor.kernel_model",
    "LatencyLimit": "leti_opt.objective.limits",
    "LatencyObjective": "leti_opt.objective.latency",
    "LatencyPredictor": "leti_opt.predictor.predictor",
    "LatencyStore": "leti_opt.store.latency_store",
    "LatencyTable": "leti_opt.predictor.lut",
    "LimitRow": "leti_opt.objective.limit_decisions",
    "LutPredictor": "leti_opt.predictor.lut_predictor",
    "LutStudy": "leti_opt.campaign.lut_study",
    "MeasurableModel": "leti_opt.device.model",
    "Measurement": "leti_opt.device.measurement",
    "MeasurementProtocol": "leti_opt.device.protocol",
    "NAS_BENCH_101": "leti_opt.search_space.definition",
    "NAS_BENCH_201": "leti_opt.search_space.definition",
    "NetworkConfig": "leti_opt.network.config",
    "Operation": "leti_opt.network.operations",
    "SpaceDefinition": "leti_opt.search_space.definition",
    "SurrogateObjective": "leti_opt.objective.surrogate",
    "TableCost": "leti_opt.network.table_cost",
    "TransferPredictor": "leti_opt.predictor.transfer",
    "adapt": "leti_opt.objective.adaptation",
    "build_keras_model": "leti_opt.network.keras_model",
    "build_layer_graph": "leti_opt.network.assembly",
    "convert_tflite": "leti_opt.network.tflite_converter",
    "decide_limits": "leti_opt.objective.limit_decisions",
    "enumerate_architectures": "leti_opt.search_space.enumeration",
    "estimate_size": "leti_opt.search_space.size",
    "fit_actively": "leti_opt.objective.active",
    "gpu_support": "leti_opt.network.gpu_support",
    "gpu_support_mask": "leti_opt.network.table_gpu_support",
    "load_predictor": "leti_opt.predictor.predictor",
    "measure": "leti_opt.device.protocol",
    "network_cost": "leti_opt.network.cost",
    "open_device": "leti_opt.device.open_device",
    "read_tflite": "leti_opt.network.tflite_reader",
    "select": "leti_opt.predictor.selection",
    "write_tflite": "leti_opt.network.tflite_writer",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leti_opt' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
