"""What is measured between two looks at the canary, and what becomes of it when the canary has left its band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from leti_opt.device.model import MeasurableModel
from leti_opt.objective.canary import Canary
from leti_opt.store.records import CellAlias

if TYPE_CHECKING:
    from leti_opt.objective.answers import Answer


class Watch:
    """Withdraws what a device measured while it was not itself, and has it measured again.

    Whoever calls it holds the device's resources.

    Args:
        canary: watches the device.
        withdraw: given the canary's fault, withdraws what was measured since it was last good; returns models' keys.
        remeasure: measures a network anew.

    Attributes:
        replaced: the newest answer of each network that was measured again, by the model's key.
    """

    def __init__(
        self,
        canary: Canary,
        withdraw: Callable[[str], Sequence[str]],
        remeasure: Callable[[MeasurableModel, CellAlias | None], Answer],
    ) -> None:
        self.replaced: dict[str, Answer] = {}
        self._canary = canary
        self._withdraw = withdraw
        self._remeasure = remeasure
        self._at_level = False
        self._pending: dict[str, tuple[MeasurableModel, CellAlias | None]] = {}
        self._since_start: dict[str, tuple[MeasurableModel, CellAlias | None]] = {}
        self._owed: dict[str, tuple[MeasurableModel, CellAlias | None]] = {}

    @property
    def wander(self) -> float | None:
        """How far the device's pace changes from one moment to another; None before that is known."""
        return None if self._canary.band is None else self._canary.band.wander

    def calibrate(self) -> None:
        """Find out the band and the wander now."""
        self._canary.calibrate()

    @property
    def quiet(self) -> bool:
        """Whether every network is to be measured at the device's quickest level."""
        return self._canary.quiet

    def measured_quietly(self, measure_once: Callable[[], Answer], attempts: int) -> Answer:
        """Measure a network until the canary was at its quickest level right before and right after.

        Args:
            measure_once: measures it and stores the result.
            attempts: how many results may break the protocol's rule at that level; then the network is unstable.

        Raises:
            DeviceError: the device is gone, or did not come to that level, or not for long enough.
        """
        deadline = self._canary.clock() + self._canary.settings.wait_s
        broken = 0
        while True:
            if not self._at_level:
                self._canary.wait_until_good()
            answer = measure_once()
            fault = self._canary.check()
            self._at_level = fault is None
            if fault is None:
                broken += answer.provisional
                if not answer.provisional or broken >= attempts:
                    return answer
            else:
                self._withdraw(fault)
                if self._canary.clock() >= deadline:
                    raise self._canary.given_up(fault)

    def measured(self, model: MeasurableModel, alias: CellAlias | None) -> None:
        """Note that a network was measured, and look at the canary if it is time."""
        self._pending[model.key] = (model, alias)
        if self._canary.due:
            self._settle()
        elif len(self._pending) > 1:  # somebody who measures one network need not wait for a band
            self._canary.gather()

    def settle(self) -> None:
        """Look at the canary now, unless nothing was measured since, or watching has not begun.

        Raises:
            DeviceError: the device is gone, or does not stay in its band.
        """
        if self._pending and self._canary.watching:
            self._settle()

    def _settle(self) -> None:
        deadline: float | None = None
        while (fault := self._canary.check()) is not None or self._owed:
            if fault is not None and self._canary.outgrown():
                self._begin_anew()
                continue  # the next check makes the new band
            if fault is not None:
                now = self._canary.clock()
                deadline = deadline or now + self._canary.settings.wait_s
                self._note_withdrawn(fault)
                if now >= deadline:
                    raise self._canary.given_up(fault)
                self._canary.wait_until_good()
            for key, (model, alias) in list(self._owed.items()):
                self.replaced[key] = self._remeasure(model, alias)
                del self._owed[key]
        self._keep_while_young()
        self._pending.clear()

    def _keep_while_young(self) -> None:
        """Remember what was measured while the band may still turn out to have been made under a load."""
        if not self._canary.is_young:
            self._since_start.clear()
            return
        for model, _ in self._pending.values():
            model.forget_rendered()
        self._since_start |= self._pending

    def _begin_anew(self) -> None:
        """Take nothing of this session for good any more, since its band was made under a load that is over."""
        self._canary.begin_anew()
        self._pending = self._since_start | self._pending
        self._since_start = {}
        self._note_withdrawn("the device is quicker than when watching began, which was under a load")

    def _note_withdrawn(self, fault: str) -> None:
        """Owe what is to be measured again; other processes' networks are theirs to ask for again."""
        keys = self._withdraw(fault)
        again = {key: self._pending[key] for key in keys if key in self._pending}
        self._owed |= again
        self._canary.notify(f"{fault}: {len(again)} network(s) will be measured again once the device is back")
