"""What a study of lookup tables has to measure: every network, and every piece that differs from the others, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from leti_opt.campaign.lut_result import NO_OPERATORS, entry_of
from leti_opt.device.model import MeasurableModel
from leti_opt.device.resource_lock import building_on_host
from leti_opt.errors import InvalidModelError, NotFoundError
from leti_opt.network.tflite_cuts import cut_operators
from leti_opt.objective.answers import Answer, Question, Source
from leti_opt.objective.measuring import MeasuringService
from leti_opt.predictor.lut_pieces import Cutting, Piece, Pieces
from leti_opt.predictor.lut_sum import TableEntry


class CutNetwork(Protocol):
    """What a study measures: a network with its pieces, or the pieces of many networks, which are no network."""

    name: str

    @property
    def whole(self) -> MeasurableModel | None:
        """The whole network, where it is measured too."""

    def pieces(self, cutting: Cutting) -> Pieces:
        """Layers or kernels."""


@dataclass(frozen=True)
class LutStep:
    """One piece or network of a study is done.

    Args:
        done: how many are.
        total: of how many, equal ones counted once.
        name: of this one.
        source: ``device``, ``store``, ``memory``; ``forecast`` for a piece without operators.
        latency_ms: its figure, where it has one.
    """

    done: int
    total: int
    name: str
    source: str
    latency_ms: float | None


@dataclass(frozen=True)
class LutJob:
    """Something to measure.

    Args:
        model: a whole network or a piece.
        is_piece: which of the two.
    """

    model: MeasurableModel
    is_piece: bool


class LutWork:
    """Cuts the networks of a study when it is first asked, and has their pieces measured.

    Args:
        networks: the networks.
        cuttings: what to cut them into.
        service: measures, and knows what is measured.

    Attributes:
        refused: why a network cannot be cut so, by its name and what it should be cut into.
    """

    def __init__(self, networks: Sequence[CutNetwork], cuttings: Sequence[Cutting], service: MeasuringService) -> None:
        self.networks = networks
        self.cuttings = cuttings
        self.service = service
        self.refused: dict[tuple[str, Cutting], str] = {}
        self._jobs: dict[str, LutJob] | None = None
        self._skipped: dict[str, Answer] = {}

    @property
    def jobs(self) -> dict[str, LutJob]:
        """Everything to be measured, by the key of its model.

        Raises:
            InvalidModelError: a network cannot be converted.
        """
        if self._jobs is None:
            self._jobs = self._cut()
        return self._jobs

    def pieces(self, cutting: Cutting) -> list[Piece]:
        """The pieces of all networks that can be cut so, in order."""
        _ = self.jobs
        return [
            piece
            for network in self.networks
            if (network.name, cutting) not in self.refused
            for piece in network.pieces(cutting).all
        ]

    def known(self, job: LutJob) -> Answer | None:
        """What is known of a job without any work; None where nothing is."""
        return self._skipped.get(job.model.key) or self.service.stored(job.model)

    def convert(self, job: LutJob) -> None:
        """Make the file that the job's measurement will need."""
        if not job.is_piece:
            job.model.prepare()
        elif self._refusal(job.model) is not None:
            job.model.forget_rendered()

    def measure(self, job: LutJob, retry_unstable: bool = False) -> Answer:
        """The answer to a job, from the store where it is there.

        Args:
            job: what to measure.
            retry_unstable: measure once more what the store holds as unstable.

        Raises:
            DeviceError: the device is gone.
            StoreError: the store cannot be written.
        """
        skipped = self._skipped.get(job.model.key)
        if skipped is not None:
            return skipped
        question = Question(job.model.name, lambda: job.model)
        if job.is_piece:
            question = Question(job.model.name, lambda: job.model, refusal=self._refusal, role="block")
        known = self.known(job) if retry_unstable else None
        answer = self.service.answer(question, fresh=known is not None and known.provisional)
        job.model.forget_rendered()
        return answer

    def convert_all(self, on_step: Callable[[LutStep], None] | None) -> None:
        """Make the files of all that is to be measured now."""
        missing = [job for job in self.jobs.values() if self.known(job) is None]
        for done, job in enumerate(missing, start=1):
            self.convert(job)
            if on_step is not None:
                on_step(LutStep(done, len(missing), job.model.name, "converted", None))

    def measure_all(self, seed: int, on_step: Callable[[LutStep], None] | None, retry_unstable: bool) -> None:
        """Measure what the store lacks, in a shuffled order.

        Raises:
            as :meth:`measure`.
        """
        keys = sorted(self.jobs)
        for done, place in enumerate(np.random.default_rng(seed).permutation(len(keys)), start=1):
            job = self.jobs[keys[place]]
            answer = self.measure(job, retry_unstable)
            if on_step is not None:
                figure = None if answer.measurement is None else answer.measurement.latency_ms()
                on_step(LutStep(done, len(keys), job.model.name, answer.source, figure))
        self.service.settle()

    def answer(self, model: MeasurableModel) -> Answer:
        """What was measured of a network or piece.

        Raises:
            NotFoundError: it is not measured yet.
        """
        job = self.jobs[model.key]
        known = self.known(job)
        if known is None and job.is_piece and self._refusal(model) is not None:
            known = self._skipped[model.key]
        if known is None:
            raise NotFoundError(f"{model.name} is not measured yet on {self.service.device.uri}; run the study")
        return known

    def entries(self) -> dict[str, TableEntry]:
        """An entry for each piece, by its key.

        Raises:
            NotFoundError: one is not measured yet.
        """
        pieces = {piece.key: piece for cutting in self.cuttings for piece in self.pieces(cutting)}
        return {key: entry_of(piece, self.answer(piece.model())) for key, piece in pieces.items() if not piece.refusal}

    def _cut(self) -> dict[str, LutJob]:
        jobs: dict[str, LutJob] = {}
        for network in self.networks:
            with building_on_host():
                whole = network.whole
            if whole is not None:
                jobs.setdefault(whole.key, LutJob(whole, is_piece=False))
            for cutting in self.cuttings:
                try:
                    with building_on_host():
                        pieces = network.pieces(cutting).all
                except InvalidModelError as error:
                    self.refused[network.name, cutting] = str(error)
                    continue
                for piece in (each for each in pieces if not each.refusal):
                    model = piece.model()
                    jobs.setdefault(model.key, LutJob(model, is_piece=True))
        return jobs

    def _refusal(self, model: MeasurableModel) -> str | None:
        """Why a piece is not to be measured: it holds nothing to run, or cannot be converted."""
        with building_on_host():
            try:
                reason = None if cut_operators(model.tflite) else NO_OPERATORS
            except InvalidModelError as error:
                reason = str(error)
        if reason is not None:
            self._skipped[model.key] = Answer(Source.FORECAST, failure=reason, skipped=True)
        return reason
