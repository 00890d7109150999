"""Where everything measured is kept."""

from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import (
    CellAlias,
    DeviceSummary,
    EpochLink,
    EpochSummary,
    EvaluationRecord,
    FailureRecord,
    ModelRecord,
    ScoreRecord,
    StoreInfo,
)

__all__ = [
    "CellAlias",
    "DeviceSummary",
    "EpochLink",
    "EpochSummary",
    "EvaluationRecord",
    "FailureRecord",
    "LatencyStore",
    "ModelRecord",
    "ScoreRecord",
    "StoreInfo",
]
