"""One of NAS-Bench-101's accuracies as a callable for a search."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.architecture import Architecture

if TYPE_CHECKING:
    from leti_opt.accuracy.nasbench101 import NasBench101Accuracies

_DIGEST_VERSION = 1


@dataclass(frozen=True)
class TabulatedAccuracy:
    """An :class:`~leti_opt.accuracy.evaluator.AccuracyEvaluator` that looks accuracies up.

    :meth:`leti_opt.accuracy.nasbench101.NasBench101Accuracies.evaluator` makes it, and checks the arguments.

    Args:
        accuracies: where they are.
        epochs: how long cells were trained.
        statistic: of the repeats.
        of: which images.
    """

    accuracies: NasBench101Accuracies
    epochs: int = 108
    statistic: str = "mean"
    of: str = "test"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"nasbench101 ({self.statistic} {self.of} accuracy after {self.epochs} epochs)"

    @property
    def digest(self) -> str:
        """Hexadecimal identity: the file that was imported, and which of its accuracies it is."""
        identity = [_DIGEST_VERSION, self.accuracies.source.sha256, self.epochs, self.statistic, self.of]
        return hashlib.sha256(json.dumps(["nasbench101", *identity]).encode()).hexdigest()

    def __call__(self, architecture: Architecture) -> float:
        """Accuracy between 0 and 1; raises as :meth:`NasBench101Accuracies.accuracy` does."""
        return self.accuracies.accuracy(architecture, self.epochs, self.statistic, self.of)
