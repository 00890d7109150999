"""The predictors that files may name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leti_opt.errors import PredictorFileError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.predictor.row_predictor import RowPredictor

PREDICTORS = {
    "FlopsPredictor": "leti_opt.predictor.flops",
    "BetterFlopsPredictor": "leti_opt.predictor.better_flops",
    "BoostedTreesPredictor": "leti_opt.predictor.boosted_trees",
    "KernelPredictor": "leti_opt.predictor.kernel_model",
    "GcnPredictor": "leti_opt.predictor.gcn",
    "LutPredictor": "leti_opt.predictor.lut_predictor",
    "TransferPredictor": "leti_opt.predictor.transfer",
    "KernelVectorPredictor": "leti_opt.predictor.vector_predictors",
    "BoostedTreesVectorPredictor": "leti_opt.predictor.vector_predictors",
}
"""Where each class is."""


def predictor_class(name: str, path: Path) -> type[RowPredictor[Any]]:
    """The class of this name.

    Raises:
        PredictorFileError: this leti_opt has none.
    """
    if name not in PREDICTORS:
        raise PredictorFileError(f"{path} holds the unknown predictor {name!r}; {did_you_mean(name, PREDICTORS)}")
    found: type[RowPredictor[Any]] = getattr(import_module(PREDICTORS[name]), name)
    return found
