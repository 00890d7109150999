"""Where everything measured is kept."""

from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import (
    CellAlias,
    DeviceSummary,
    EpochLink,
    EvaluationRecord,
    FailureRecord,
    ScoreRecord,
    StoreInfo,
)

__all__ = [
    "CellAlias",
    "DeviceSummary",
    "EpochLink",
    "EvaluationRecord",
    "FailureRecord",
    "LatencyStore",
    "ScoreRecord",
    "StoreInfo",
]
