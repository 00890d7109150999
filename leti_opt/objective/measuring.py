"""The one service that measures: memory first, then the store, then the device."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, check_protocol, measure
from leti_opt.device.resource_lock import building_on_host, hold
from leti_opt.errors import DeviceError, InfeasibleError, NotFoundError
from leti_opt.network.cost import network_cost
from leti_opt.objective.answer_memory import AnswerMemory
from leti_opt.objective.answers import Answer, Question, Source
from leti_opt.objective.build_faults import blaming_the_architecture
from leti_opt.objective.canary import Canary, CanarySettings
from leti_opt.objective.keyed_locks import KeyedLocks
from leti_opt.objective.service import LatencyService
from leti_opt.objective.watch import Watch
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import CellAlias, ModelRole

_LOGGER = logging.getLogger("leti_opt")
_REMEMBER_EVERY_S = 60.0


class MeasuringService(LatencyService):
    """Answers what a network's latency is on one device, and measures only what nobody measured before.

    It may be called from several threads: builds overlap, measurements queue for the device, and one network is
    never measured twice. Every result is in the store before the answer is given.

    Args:
        device: what measures.
        store: what remembers.
        protocol: when a measurement holds.
        offline: answer from the store alone; the device is not contacted.
        canary: how the device is watched.

    Attributes:
        device: what measures.
        on_withdrawn: told the keys of models whose figures were withdrawn.
    """

    def __init__(
        self,
        device: Device,
        store: LatencyStore,
        protocol: MeasurementProtocol,
        offline: bool = False,
        canary: CanarySettings | None = None,
    ) -> None:
        self.device = device
        self.store = store
        self.protocol = protocol
        self.offline = offline
        self.canary = canary or CanarySettings()
        self.notify: Callable[[str], None] = _LOGGER.warning
        self.on_withdrawn: Callable[[Sequence[str]], None] = lambda _keys: None
        self._make_canary: Callable[..., Canary] = Canary
        self._watch: Watch | None = None
        self.counts: Counter[tuple[Source, str]] = Counter()
        self._memory = AnswerMemory()
        self._networks: set[str] = set()
        self._roles: dict[str, ModelRole] = {}
        self._busy = KeyedLocks()
        self._lock = threading.Lock()
        self._seen: tuple[DeviceIdentity, DeviceEpoch] | None = None
        self._remembered: tuple[DeviceIdentity, DeviceEpoch] | None = None
        self._remembered_at = 0.0
        self._is_taken_on_trust = False

    @property
    def members(self) -> Sequence[MeasuringService]:
        """Itself."""
        return (self,)

    def known(self, question: Question) -> Answer | None:
        """What memory or store say of a cell; nothing is built or measured. None where they say nothing.

        A network without an alias has to be built before anything can be found, so that is None, too.

        Raises:
            StoreError: the store cannot be read.
        """
        alias = question.alias
        if alias is None:
            return None
        known = self._memory.of(alias) or self._stored(self.store.resolve(alias), alias)
        return None if known is None else self._memory.keep(alias, known)

    def stored(self, model: MeasurableModel) -> Answer | None:
        """What memory or store say of a model; nothing is measured. None where they say nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        return self._memory.of(model.key) or self._stored(model.key)

    def answer(self, question: Question, fresh: bool = False) -> Answer:
        """The latency of a network; see :meth:`LatencyService.answer`."""
        if question.alias is None:
            return self._counted(self._built_and_answered(question, fresh))
        with self._busy.of(question.alias):
            return self._counted(self._alias_answered(question, question.alias, fresh))

    def _alias_answered(self, question: Question, alias: CellAlias, fresh: bool) -> Answer:
        known = None if fresh else self.known(question)
        if known is not None:
            return known
        self._keep_network(question, alias)
        answer = self._built_and_answered(question, fresh)
        self._memory.keep(alias, (self._stored(self.store.resolve(alias), alias) if fresh else None) or answer)
        return answer

    def _built_and_answered(self, question: Question, fresh: bool) -> Answer:
        if self.offline and question.alias is not None:
            raise self._not_stored(question.name)
        try:
            model = self._build(question)
        except InfeasibleError as error:
            # Without an alias nothing identifies a network that was never built, so there is nothing to store it by.
            if question.alias is not None:
                self.store.add_failure(error.reason, stage="build", alias=question.alias)
            return Answer(Source.DEVICE, failure=error.reason)
        with self._busy.of(model.key):
            if question.role is not None:
                self._roles[model.key] = question.role
            known = None if fresh else self._memory.of(model.key) or self._stored(model.key)
            if known is not None and question.alias is not None:
                self.store.add_alias(question.alias, model)
            answer = known or self._skipped(question, model) or self._measured(model, question.alias, fresh)
            # A second measurement may be worse than the first, and the better one goes on to answer.
            self._memory.keep(model.key, (self._stored(model.key) if fresh else None) or answer)
            return answer

    def _keep_network(self, question: Question, alias: CellAlias) -> None:
        if question.network is not None and alias.network_digest not in self._networks and not self.offline:
            self.store.add_network(alias.network_digest, question.network)
            self._networks.add(alias.network_digest)

    def _skipped(self, question: Question, model: MeasurableModel) -> Answer | None:
        reason = question.refusal(model) if question.refusal is not None else None
        return None if reason is None else Answer(Source.FORECAST, failure=reason, skipped=True)

    def _measured(self, model: MeasurableModel, alias: CellAlias | None, fresh: bool) -> Answer:
        if self.offline:
            raise self._not_stored(model.name)
        check_protocol(self.device, self.protocol)
        if self.device.needs_file:
            try:
                self._render(model)
            except InfeasibleError as error:
                self.store.add_failure(error.reason, stage="build", model=model, alias=alias)
                return Answer(Source.DEVICE, failure=error.reason)
        with hold(self.device.resources):
            # Another process may have measured it while this one waited for the device.
            known = None if fresh else self._stored(model.key)
            if known is not None:
                return known
            self._refuse_another()
            return self._watched(model, alias)

    def _watched(self, model: MeasurableModel, alias: CellAlias | None) -> Answer:
        watch = self._watching()
        if watch is None:
            return self._measured_once(model, alias, self.protocol)
        if watch.quiet:
            once = replace(self.protocol, max_attempts=1)
            return watch.measured_quietly(lambda: self._measured_once(model, alias, once), self.protocol.max_attempts)
        if self.protocol.relative_error is not None:
            watch.calibrate()
        answer = self._measured_once(model, alias, self.protocol)
        if answer.measurement is not None:
            watch.measured(model, alias)
        return self.current(answer)

    def _measured_once(self, model: MeasurableModel, alias: CellAlias | None, protocol: MeasurementProtocol) -> Answer:
        wander = None if self._watch is None else self._watch.wander
        try:
            measurement = measure(self.device, model, protocol, wander)
        except InfeasibleError as error:
            identity, epoch = self._identity()
            self.store.add_failure(error.reason, stage="run", model=model, alias=alias, device=identity, epoch=epoch)
            return Answer(Source.DEVICE, failure=error.reason)
        self._record(model, measurement, alias)
        return Answer(Source.DEVICE, measurement, provisional=measurement.status == "unstable")

    def settle(self) -> None:
        """Look at the canary after the last measurement; see :meth:`LatencyService.settle`."""
        if self._watch is not None:
            with hold(self.device.resources):
                self._watch.settle()

    def close(self) -> None:
        """Release the device."""
        self.device.close()

    def take_for(self, identity: DeviceIdentity, epoch: DeviceEpoch) -> None:
        """Go by what the device was when it was last seen, as long as it cannot be reached."""
        self._seen = (identity, epoch)
        self._is_taken_on_trust = True

    def _refuse_another(self) -> None:
        """Make sure that a device which was taken for what it once was has come back as just that."""
        if not self._is_taken_on_trust:
            return
        identity, epoch = self.device.identity, self.device.epoch
        if (identity, epoch) != self._seen:
            raise DeviceError(
                f"{self.device.uri} came back as something else than it was when it was last seen: now it is "
                f"{identity.name}, {identity.runtime}, {epoch.system_build} {epoch.driver} {epoch.unit}".rstrip()
                + "; everything is kept; start again with it connected"
            )
        self._is_taken_on_trust = False

    def current(self, answer: Answer) -> Answer:
        """The answer itself, or the one that replaced it after the canary had left its band."""
        watch, measurement = self._watch, answer.measurement
        newer = None if watch is None or measurement is None else watch.replaced.get(measurement.model_key)
        if newer is None or newer.measurement is None or measurement is None:
            return newer or answer
        return newer if newer.measurement.started_at > measurement.started_at else answer

    def _watching(self) -> Watch | None:
        if self._watch is None and self.canary.pace != "off" and self.device.watched:
            identity, epoch = self._identity()
            canary = self._make_canary(self.device, self.store, identity, epoch, self.canary, self._notified)
            again = partial(self._measured_once, protocol=self.protocol)
            self._watch = Watch(canary, partial(self._withdraw, canary), again)
        return self._watch

    def _notified(self, line: str) -> None:
        self.notify(line)

    def _withdraw(self, canary: Canary, reason: str) -> list[str]:
        identity, epoch = self._identity()
        keys = self.store.suspect(identity, epoch, since=canary.good_at, reason=reason)
        self.forget(keys)
        self.on_withdrawn(keys)
        return keys

    def forget_everything(self) -> None:
        """Remember no answer: whoever asks for many networks once each needs none, and the store has them all."""
        self._memory.clear()

    def forget(self, model_keys: Sequence[str]) -> None:
        """Remember these models no more, so that the next question goes to the store."""
        self._memory.forget(model_keys)

    def _record(self, model: MeasurableModel, measurement: Measurement, alias: CellAlias | None) -> None:
        cost = None if model.layer_graph is None else network_cost(model.layer_graph)
        self.store.add(
            model,
            measurement,
            alias=alias,
            flops=None if cost is None else cost.flops,
            parameters=None if cost is None else cost.parameters,
            role=self._roles.get(model.key),
        )
        self._remember_uri(measurement.device, measurement.epoch)

    def _remember_uri(self, identity: DeviceIdentity, epoch: DeviceEpoch) -> None:
        """Not for every network: a transaction takes as long as the measurement's own, and would tell nothing new."""
        now = time.monotonic()
        if self._remembered == (identity, epoch) and now - self._remembered_at < _REMEMBER_EVERY_S:
            return
        self.store.remember_uri(self.device.uri, identity, epoch)
        self._remembered, self._remembered_at = (identity, epoch), now

    def _stored(self, key: str | None, alias: CellAlias | None = None) -> Answer | None:
        identity, epoch = self._identity()
        min_runs = self.protocol.runs_on(self.device)
        unstable: Answer | None = None
        for measurement in self.store.find(key, identity, epoch=epoch) if key else ():
            # Whether it holds is for this protocol to say, whatever the one said that it was measured under.
            if measurement.status == "unchecked":
                return Answer(Source.STORE, measurement)
            if self.protocol.served_by(measurement, min_runs):
                return Answer(Source.STORE, replace(measurement, stable=True))
            if unstable is None and self.protocol.gives_up(measurement, min_runs):
                unstable = Answer(Source.STORE, replace(measurement, stable=False), provisional=True)
        if unstable is not None:
            return unstable
        failures = self.store.failures(model_key=key, identity=identity, epoch=epoch) if key else []
        if not failures and alias is not None:
            failures = self.store.failures(alias=alias, identity=identity, epoch=epoch)
        return Answer(Source.STORE, failure=failures[0].reason) if failures else None

    @property
    def identity(self) -> DeviceIdentity:
        """What measures; offline, what measured under this URI before."""
        return self._identity()[0]

    @property
    def epoch(self) -> DeviceEpoch:
        """The device's system build, driver and unit; offline, those it was seen with last."""
        return self._identity()[1]

    def _identity(self) -> tuple[DeviceIdentity, DeviceEpoch]:
        if self._seen is None:
            known = self.store.device_of(self.device.uri) if self.offline else None
            if self.offline and known is None:
                raise NotFoundError(
                    f"the store {self.store.url} has no results of {self.device.uri}; go online to measure"
                )
            self._seen = known or (self.device.identity, self.device.epoch)
        return self._seen

    def _build(self, question: Question) -> MeasurableModel:
        # A cell's build is a layer graph, the work of a millisecond; its file is rendered later, under the lock.
        with building_on_host() if question.alias is None else nullcontext():
            return blaming_the_architecture(question.build)

    def _render(self, model: MeasurableModel) -> None:
        if self.device.is_prepared(model):  # for nothing to build, no measurement on another core is waited for
            return
        with building_on_host():
            blaming_the_architecture(lambda: self.device.prepare(model))

    def _not_stored(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"the store {self.store.url} has no result of {name} on {self.device.uri}; go online to measure it"
        )

    def _counted(self, answer: Answer) -> Answer:
        with self._lock:
            self.counts[answer.source, answer.status] += 1
        return answer
