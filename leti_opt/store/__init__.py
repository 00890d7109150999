"""Where everything measured is kept."""

from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import (
    CampaignRecord,
    CellAlias,
    Claim,
    DeviceSummary,
    EpochLink,
    EpochSummary,
    EvaluationRecord,
    EventRecord,
    FailureRecord,
    ModelRecord,
    ScoreRecord,
    StoredResult,
    StoreInfo,
)

__all__ = [
    "CampaignRecord",
    "CellAlias",
    "Claim",
    "DeviceSummary",
    "EpochLink",
    "EpochSummary",
    "EvaluationRecord",
    "EventRecord",
    "FailureRecord",
    "LatencyStore",
    "ModelRecord",
    "ScoreRecord",
    "StoreInfo",
    "StoredResult",
]
