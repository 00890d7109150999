"""How accurate a cell is."""

from leti_opt.accuracy.evaluator import AccuracyEvaluator, StoredAccuracy
from leti_opt.accuracy.training import DigitsAccuracy

__all__ = ["AccuracyEvaluator", "DigitsAccuracy", "StoredAccuracy"]
