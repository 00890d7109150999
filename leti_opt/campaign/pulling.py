"""One device of a campaign: takes network after network, builds ahead, measures, and stores before it goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.building import Builders
from leti_opt.campaign.claims import Claims, Place, claim_key
from leti_opt.campaign.events import BACK, LOST, NOTE, OUT, EventLog
from leti_opt.campaign.feed import Feed
from leti_opt.campaign.places import served_places
from leti_opt.campaign.progress import DeviceProgress
from leti_opt.campaign.standing import LACKING, item_states, lacking
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device
from leti_opt.device.model import MeasurableModel
from leti_opt.device.pool import DeviceReport, PoolPatience
from leti_opt.device.use import WAITING_FOR_BUILD
from leti_opt.errors import DeviceError, InfeasibleError, StoreError
from leti_opt.objective.answers import Answer, Question
from leti_opt.objective.pooled import PooledService
from leti_opt.objective.twins_elsewhere import link_twins_elsewhere
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.standings import State

_IN_HAND = 2
"""Networks that a device is asked for at once: it never waits for the next question."""

_WAIT_FOR_OTHERS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_LOOK_AT_AWAY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_LOOK_FOR_TWINS_EVERY_S = 60.0


class DevicePuller:
    """Has every network of a campaign measured on one device, unless the store or an equal device has it.

    Args:
        work: the campaign's networks.
        device: what measures.
        store: what remembers.
        builders: who builds.
        events: where to tell what happens.
        owner: names the device and its host to other hosts.
        retry_unstable: ask once more for the networks that the store holds as unstable.
    """

    def __init__(
        self,
        work: CampaignWork,
        device: Device,
        store: LatencyStore,
        builders: Builders,
        events: EventLog,
        owner: str,
        retry_unstable: bool = False,
    ) -> None:
        self.work, self.device, self.store = work, device, store
        self.builders, self.events, self.owner = builders, events, owner
        self.retry_unstable = retry_unstable
        self.progress = DeviceProgress(device.uri, len(work))
        patience = PoolPatience(tries=25, back_within_s=work.execution.patience_h * 3600)
        self.service = PooledService([device], store, work.protocol, canary=work.canary, patience=patience)
        self.service.notify = self._notified
        self._stopping = threading.Event()
        self._state = "ready"
        self._spent: list[str] = []
        self._is_cut_off = False
        self._looked_for_twins = -_LOOK_FOR_TWINS_EVERY_S

    def run(self) -> None:
        """Measure until nothing is lacking, or until :meth:`stop`.

        Raises:
            DeviceError: the device was away for too long, or fails again and again.
            StoreError: the store cannot be read or written.
            InvalidProtocolError: the device cannot follow the protocol.
        """
        self._wait_until_known()
        reports: list[DeviceReport] = []
        try:
            with Claims(self.store, self.owner, is_there=lambda: not self._is_away) as claims:
                try:
                    self._run_rounds(claims)
                finally:  # what is in progress ends before its claim does
                    reports = self.service.report()
                    self.service.close()
        finally:
            self.progress.finish(reports)

    def stop(self) -> None:
        """Finish the measurement in progress and take no further one; a device that is away is not waited for.

        May be called from another thread, and again and again.
        """
        self._stopping.set()
        if self._is_away:
            self.interrupt()

    def interrupt(self) -> None:
        """The same, and end waits for a device that is hot."""
        self._stopping.set()
        self._is_cut_off = True
        self.service.stop()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stopping.is_set()

    @property
    def _is_away(self) -> bool:
        return any(report.state != "ready" for report in self.service.report())

    def _wait_until_known(self) -> None:
        """A device that is away, and that the store has never seen, is waited for; of another the store tells enough.

        Raises:
            DeviceError: it did not come within the campaign's patience.
        """
        begun, pauses = time.monotonic(), chain(_LOOK_AT_AWAY_S, repeat(_LOOK_AT_AWAY_S[-1]))
        while True:
            try:
                _ = self.service.kinds
            except DeviceError as error:
                if self.is_stopped or time.monotonic() - begun > self.work.execution.patience_h * 3600:
                    raise
                if self._state != "away":
                    self._state = self.progress.state = "away"
                    self.events.add(LOST, f"{self.device.uri} is not there yet: {error}", self.device.uri)
                self._stopping.wait(next(pauses))
            else:
                if self.service.away:
                    self._state = self.progress.state = "away"
                    self.events.add(LOST, f"{self.device.uri} is not there yet; it is waited for", self.device.uri)
                elif self._state == "away":
                    self._state = self.progress.state = "ready"
                    self.events.add(BACK, f"{self.device.uri} is there", self.device.uri)
                return

    def _run_rounds(self, claims: Claims) -> None:
        again = [State.UNSTABLE] if self.retry_unstable else []
        answered = new = -1
        pauses = iter(_WAIT_FOR_OTHERS_S)
        while not self.is_stopped:
            self._look_for_twins()
            self.service.members[0].forget_everything()  # others may have withdrawn what it remembers
            states = self._states()
            self.progress.origin = self.service.identity.origin
            pending = lacking(self.work, states, again)
            used = self.device.use.seconds()
            if not len(pending):
                self.progress.begin_round(states, pending, used)
                return
            self._refuse_in_vain(pending, answered, self.progress.row().new - new)
            new = self.progress.row().new
            self.progress.begin_round(states, pending, used)
            self.progress.state = self._state
            answered = self._round(pending, claims, states)
            again = []
            if not self._is_cut_off:
                self.service.settle()
            if not answered and not self.is_stopped:
                self._wait_for_others(next(pauses, _WAIT_FOR_OTHERS_S[-1]))
            elif answered:
                pauses = iter(_WAIT_FOR_OTHERS_S)

    def _refuse_in_vain(self, pending: NDArray[np.int64], answered: int, new: int) -> None:
        """A round that answered all it was asked, measured nothing, and left as much lacking would go on for ever."""
        if answered >= len(pending) and new == 0:
            raise StoreError(
                f"{len(pending)} networks have answers that the store does not count for {self.device.uri}; this is a "
                "fault of leti_opt, please report it; everything measured is kept"
            )

    def _round(self, pending: NDArray[np.int64], claims: Claims, states: NDArray[np.int8]) -> int:
        """Ask for every item that nobody else has claimed; how many were answered."""
        answered = 0
        in_hand: deque[tuple[int, Future[Answer]]] = deque()

        def take() -> None:
            nonlocal answered
            item, future = in_hand.popleft()
            self._answered(item, future.result(), claims)
            answered += 1

        with Feed(lambda: self._questions(pending, claims, states), self.work.execution.ahead) as feed:
            for item, question in self._timed_first(iter(feed)):
                if not claims.are_sure and not claims.take(self._claim_keys([item]))[0]:
                    continue  # it waited for so long that another device has it now
                is_again = states[item] == State.UNSTABLE
                [future] = self.service.submit(question, fresh=bool(is_again)).values()
                in_hand.append((item, future))
                if len(in_hand) >= _IN_HAND:
                    take()
                if self.is_stopped:
                    break
            while in_hand:
                take()
        return answered

    def _timed_first(self, questions: Iterator[tuple[int, Question]]) -> Iterator[tuple[int, Question]]:
        """Count the wait for the first network; once the device has work, its pool counts how long it has none."""
        with self.device.use.timing(WAITING_FOR_BUILD) if not self.service.report() else nullcontext():
            first = next(questions, None)
        if first is not None:
            yield first
            yield from questions

    def _questions(
        self, pending: NDArray[np.int64], claims: Claims, states: NDArray[np.int8]
    ) -> Iterator[tuple[int, Question]]:
        """Claim, look up and build some at a time."""
        size = self.work.execution.ahead
        for start in range(0, len(pending), size):
            if self.is_stopped:
                return
            open_items = []
            for item in self._claimed(pending[start : start + size], claims).tolist():
                question = self.work.question(item)
                if states[item] == LACKING and self.service.members[0].known(question) is not None:
                    yield item, question  # a twin has measured it meanwhile
                else:
                    open_items.append(item)
            yield from self._built(open_items, at_once=start == 0)

    def _built(self, items: Sequence[int], at_once: bool) -> Iterator[tuple[int, Question]]:
        for number, (config, places) in enumerate(self.work.split(items)):
            if not len(places):
                continue
            own = places * len(self.work.configs) + number
            build = self.builders.build_here if at_once else self.builders.build
            built = build(self.work.cells[places], config)
            for item, made in zip(own.tolist(), built, strict=True):
                question = self.work.question(item)
                yield item, question if made is None else replace(question, build=_handing_out(made))

    def _claimed(self, items: NDArray[np.int64], claims: Claims) -> NDArray[np.int64]:
        """Those of the items that are this device's to measure."""
        keys = self._claim_keys(items.tolist())
        ours: NDArray[np.int64] = items[np.array(claims.take(keys), dtype=bool)]
        return ours

    def _claim_keys(self, items: Sequence[int]) -> list[list[str]]:
        places = self._places()
        aliases = [self.work.question(item).alias for item in items]
        return [
            [claim_key(place, alias.network_digest, alias.cell) for place in places]
            for alias in aliases
            if alias is not None
        ]

    def _places(self) -> list[Place]:
        """This device as it is now, and all that it answers for."""
        own = (self.service.identity, self.service.epoch)
        return sorted(served_places(self.store, own), key=lambda place: (place[0].digest, place[1].digest))

    def _answered(self, item: int, answer: Answer, claims: Claims) -> None:
        self.progress.add(item, answer)
        self.service.members[0].forget_everything()
        self._spent += [key for keys in self._claim_keys([item]) for key in keys]
        if len(self._spent) >= self.work.execution.ahead:
            claims.release(self._spent)
            self._spent = []
        self._look_for_twins()

    def _states(self) -> NDArray[np.int8]:
        member = self.service.members[0]
        return item_states(
            self.work, self.store, member.identity, member.epoch, self.work.protocol.runs_on(self.device)
        )

    def _look_for_twins(self) -> None:
        """Now and then see whether equal devices on other hosts agree with this one, and share the work from then."""
        now = time.monotonic()
        if now - self._looked_for_twins < _LOOK_FOR_TWINS_EVERY_S:
            return
        self._looked_for_twins = now
        for line in link_twins_elsewhere(self.service.members[0], [config.digest for config in self.work.configs]):
            self.events.add(NOTE, line, self.device.uri)

    def _wait_for_others(self, seconds: float) -> None:
        """Everything that is left is claimed by others: they answer it, or their claims run out."""
        self.progress.state = "waiting for other devices"
        self._stopping.wait(seconds)
        self.progress.state = "ready"

    def _notified(self, line: str) -> None:
        report = self.service.report()
        state = report[0].state if report else "ready"
        kind = NOTE if state == self._state else {"away": LOST, "ready": BACK, "out": OUT}[state]
        self._state = self.progress.state = state
        self.events.add(kind, line, self.device.uri)


def _handing_out(made: MeasurableModel | InfeasibleError) -> Callable[[], MeasurableModel]:
    def build() -> MeasurableModel:
        if isinstance(made, InfeasibleError):
            raise made
        return made

    return build
