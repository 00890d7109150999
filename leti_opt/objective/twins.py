"""Devices of one identity: they share work once a panel of networks has shown that they agree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import nullcontext
from itertools import combinations, count

from leti_opt.device.device import Device
from leti_opt.device.pool import DevicePool
from leti_opt.device.resource_lock import building_on_host
from leti_opt.errors import LetiError, NotFoundError
from leti_opt.objective.answers import Answer, Question, slowest
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.panel import PANEL_SIZE, choose_panel, link_epochs, panel_model
from leti_opt.objective.panel_check import LEAST_NETWORKS
from leti_opt.store.links import checks_of, served_epochs

Group = tuple[int, ...]
"""Places of devices that were shown to agree, and answer for each other."""


class Twins:
    """The devices of one identity in a pool; there may be just one.

    Two of them answer for each other once their epochs are linked (:func:`~leti_opt.objective.panel.link_epochs`).
    Before that every network is measured on each; as soon as there are twenty that both have, they are compared. Two
    that were shown to disagree each get all of the work for good.

    Args:
        members: services by the device's place in the pool; their identities are equal.
        statistic: the figure by which the slowest of several devices is told.
        notify: told in one line what a comparison showed.
    """

    def __init__(self, members: dict[int, MeasuringService], statistic: str, notify: Callable[[str], None]) -> None:
        self.members = members
        self._by_device = {id(member.device): member for member in members.values()}
        self._statistic = statistic
        self._notify = notify
        self._store = next(iter(members.values())).store
        self.identity = next(iter(members.values())).identity
        self._held: dict[int, set[str]] = {place: set() for place in members}
        self._learned: set[str] = set()
        self._open: dict[int, dict[int, Future[Answer]]] = {}
        self._numbers = count()
        self._lock = threading.RLock()
        self.groups: list[Group] = []
        self._refuted: set[frozenset[int]] = set()
        self._group()

    def submit(self, pool: DevicePool, question: Question, fresh: bool = False) -> Future[Answer]:
        """Have a network answered by whoever is free, or by each where they do not answer for each other yet."""
        if question.alias is not None and len(self.groups) > 1:
            self._learn(pool, question.alias.network_digest)
        with self._lock:
            groups = list(self.groups)
            futures = {group: self._asked(pool, group, question, fresh) for group in groups}
            if len(groups) > 1:
                self._keep_open(futures)
        circles = [
            _gathered([futures[group] for group in circle], 1, lambda answers: answers[0])
            for circle in self.circles(groups)
        ]
        return _gathered(circles, len(circles), lambda answers: slowest(answers, self._statistic))

    def stored(self, question: Question) -> Answer:
        """The same from the store alone: of twins that may yet turn out to agree, whichever has an answer.

        Raises:
            NotFoundError: the store has none.
        """
        return slowest([self._stored_in(circle, question) for circle in self.circles()], self._statistic)

    def _stored_in(self, circle: Sequence[Group], question: Question) -> Answer:
        missing: NotFoundError | None = None
        for group in circle:
            try:
                return self.members[group[0]].answer(question)
            except NotFoundError as error:
                missing = missing or error
        assert missing is not None
        raise missing

    def _keep_open(self, futures: dict[Group, Future[Answer]]) -> None:
        """Remember what was asked of several groups as long as one of them has not answered."""
        number = next(self._numbers)
        self._open[number] = {group[0]: future for group, future in futures.items()}
        for future in futures.values():
            future.add_done_callback(lambda _: self._close_answered(number))

    def _close_answered(self, number: int) -> None:
        if all(future.done() for future in self._open.get(number, {}).values()):
            self._open.pop(number, None)

    def _drop_what_is_asked_twice(self) -> None:
        """After groups became one: of a question that each was asked, what nobody has begun is asked once."""
        for futures in list(self._open.values()):
            by_group: dict[Group, list[Future[Answer]]] = {}
            for place, future in futures.items():
                by_group.setdefault(self._group_with(place), []).append(future)
            for same in by_group.values():
                # One that ended without an answer (cancelled before, or its device is left out) is none to rely on.
                hopeful = [future for future in same if not future.done() or _has_answer(future)]
                kept = next((future for future in hopeful if future.running() or future.done()), (hopeful or same)[0])
                for future in hopeful:
                    if future is not kept:
                        future.cancel()

    def _group_with(self, place: int) -> Group:
        return next(group for group in self.groups if place in group)

    def _asked(self, pool: DevicePool, group: Group, question: Question, fresh: bool = False) -> Future[Answer]:
        known = None if fresh else self.members[group[0]].known(question)
        if known is not None:
            done: Future[Answer] = Future()
            done.set_result(known)
            return done

        def work(device: Device) -> Answer:
            return self._by_device[id(device)].answer(question, fresh)

        # Who may do it changes with what the twins are found to be.
        future = pool.submit(work, lambda: self._group_with(group[0]), lambda: self._prepare(pool, group[0], question))
        if len(self.groups) > 1:
            future.add_done_callback(lambda ended: self._noticed(pool, group, ended))
        return future

    def _prepare(self, pool: DevicePool, place: int, question: Question) -> None:
        """Build ahead what a device will need; its twins need the same. One that is away is not asked how."""
        # A cell's build is the work of a millisecond, as MeasuringService says.
        with building_on_host() if question.alias is None else nullcontext():
            model = question.build()
        ready = (self.members[one].device for one in self._group_with(place) if pool.state(one) == "ready")
        device = next(ready, None)
        if device is not None and device.needs_file and not device.is_prepared(model):
            with building_on_host():
                device.prepare(model)

    def _noticed(self, pool: DevicePool, group: Group, ended: Future[Answer]) -> None:
        if ended.cancelled() or ended.exception() is not None:
            return
        measurement = ended.result().measurement
        if measurement is None or measurement.status == "unstable":
            return
        with self._lock:
            for place in group:
                if self.members[place].epoch == measurement.epoch:
                    self._held[place].add(measurement.model_key)
            self._compare(pool)

    def _compare(self, pool: DevicePool) -> None:
        """Compare every two groups that nobody compared yet and that have a panel's worth of networks in common."""
        for first, second in combinations(list(self.groups), 2):
            if self._is_refuted(first, second):
                continue
            pairs = [(a, b) for a in first for b in second]
            here, there = max(pairs, key=lambda pair: len(self._held[pair[0]] & self._held[pair[1]]))
            shared = self._held[here] & self._held[there]
            if len(shared) < PANEL_SIZE:
                continue
            service, other = self.members[here], self.members[there]
            try:
                link = link_epochs(service, (other.identity, other.epoch), sorted(shared))
            except NotFoundError:
                continue  # some were withdrawn since; further networks will do
            told = "agree, and share the work from now on" if link.agrees else "disagree: each gets all of the work"
            self._notify(
                f"{service.device.uri} and {other.device.uri} {told} (median ratio {link.median_ratio:.3f}, "
                f"Spearman {link.spearman:.3f}, {link.networks} networks)"
            )
            self._group()
            self._drop_what_is_asked_twice()
            pool.wake()
            self._compare(pool)
            return

    def _learn(self, pool: DevicePool, network_digest: str) -> None:
        """Take in what the store has, and have the panel of the one with the most figures measured on the others."""
        with self._lock:
            if network_digest in self._learned:
                return
            self._learned.add(network_digest)
            for place, member in self.members.items():
                own = self._store.latencies(member.identity, member.epoch, network_digest, linked=False)
                self._held[place] |= own.keys()
            self._compare(pool)
            groups = list(self.groups)
        richest = max(self.members, key=lambda place: len(self._held[place]))
        if len(groups) < 2 or len(self._held[richest]) < LEAST_NETWORKS:
            return
        source = self.members[richest]
        panel = choose_panel(self._store, source.identity, source.epoch, network_digest)
        for group in groups:
            if richest in group:
                continue
            for key in panel:
                if not any(key in self._held[place] for place in group):
                    model = panel_model(self._store, key)
                    self._asked(pool, group, Question(model.name, lambda model=model: model))  # type: ignore[misc]

    def _group(self) -> None:
        """Sort the devices into groups by what the store knows of links between them."""
        checks = checks_of(self._store.links(self.identity), self.identity)
        newest: dict[frozenset[object], bool] = {}
        for first, second, agrees in checks:
            newest.setdefault(frozenset((first, second)), agrees)
        ends = {place: (member.identity, member.epoch) for place, member in self.members.items()}
        groups: list[list[int]] = []
        for place, end in ends.items():
            served = served_epochs(checks, end)
            home = next((group for group in groups if all(ends[other] in served for other in group)), None)
            if home is None:
                groups.append([place])
            else:
                home.append(place)
        self._refuted = {
            frozenset((a, b)) for a, b in combinations(ends, 2) if newest.get(frozenset((ends[a], ends[b]))) is False
        }
        self.groups = [tuple(group) for group in groups]

    def _is_refuted(self, first: Group, second: Group) -> bool:
        return any(frozenset((a, b)) in self._refuted for a in first for b in second)

    def circles(self, groups: Sequence[Group] | None = None) -> list[list[Group]]:
        """Groups that may yet turn out to agree: the first answer of a circle is its answer."""
        groups = self.groups if groups is None else groups
        circles: list[list[Group]] = []
        for group in groups:
            open_ones = [c for c in circles if not any(self._is_refuted(group, other) for other in c)]
            if open_ones:
                open_ones[0].append(group)
            else:
                circles.append([group])
        return circles


def _has_answer(future: Future[Answer]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _gathered(
    futures: Sequence[Future[Answer]], needed: int, choose: Callable[[Sequence[Answer]], Answer]
) -> Future[Answer]:
    """What ``choose`` makes of the first ``needed`` answers; an exception once there cannot be as many."""
    if len(futures) == 1:
        return futures[0]
    together: Future[Answer] = Future()
    together.set_running_or_notify_cancel()
    lock = threading.Lock()
    answers: list[Answer] = []
    missing = 0

    def take(ended: Future[Answer]) -> None:
        nonlocal missing
        with lock:
            if together.done():
                return
            error = CancelledError() if ended.cancelled() else ended.exception()
            if error is None:
                answers.append(ended.result())
            else:
                missing += 1
            if len(answers) == needed:
                try:
                    together.set_result(choose(answers))
                except LetiError as unavailable:  # a statistic that a device does not reveal of this network
                    together.set_exception(unavailable)
            elif error is not None and missing > len(futures) - needed:
                together.set_exception(error)

    for future in futures:
        future.add_done_callback(take)
    return together
