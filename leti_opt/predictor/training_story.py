"""Where the figures come from that a predictor learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class TrainingStory:
    """Where the figures come from that a predictor learned.

    Args:
        device: what they are of, in words.
        origin: ``measured``, ``simulated``, ``replayed`` or ``imported``.
        cells: how many.
        source: the file or store.
        others: figures of other devices, which taught it what this one may be like; or a table's of pieces.
    """

    device: str
    origin: str
    cells: int
    source: str
    others: tuple[TrainingStory, ...] = ()

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made of one."""
        return cls(**{**told, "others": tuple(cls.from_dict(other) for other in told.get("others", ()))})

    @property
    def every_origin(self) -> str:
        """The origin of all figures that were learned from, those of other devices included."""
        told = (self.origin, *(other.origin for other in self.others))
        return " and ".join(sorted({word for origin in told for word in origin.split(" and ")}))

    def statement(self) -> str:
        """In a few words, what these figures are.

        >>> TrainingStory("formula [SIMULATED]", "simulated", 80, "latencies.parquet").statement()
        '80 simulated figures of formula [SIMULATED]'
        """
        own = f"{self.cells:,} {self.origin} figures of {self.device}"
        return " and ".join([own, *(other.statement() for other in self.others)])
