"""What a store can answer for each cell on a device, for all cells at once: a campaign asks this when it goes on.

The database packs whole columns into one text each, which numpy then reads: row by row, half a million cells would
take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, Text, and_, case, cast, func, or_, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.store import links, protocol_rules
from leti_opt.store.schema import aliases, devices, failures, measurements, suspicions

if TYPE_CHECKING:
    import pandas as pd


class State(IntEnum):
    """What a store can answer for a cell."""

    INFEASIBLE = 0
    UNSTABLE = 1
    MEASURED = 2


@dataclass(frozen=True)
class Standings:
    """Every cell that a store can answer for on a device, in no particular order; the columns belong together.

    Args:
        graph_hashes: of the cells, as bytes (``S32``): ``.astype("U32")`` is as ``ArchitectureTable.graph_hashes``.
        states: a :class:`State` each, as int8.
        cells: texts of the canonical cells, as bytes; None unless they were asked for. Two cells may share a hash.
        figures: what the answers rest on; None unless it was asked for. See :mod:`leti_opt.store.standing_figures`.
        known_rows: where the first ones stand among the :class:`KnownCells`; the others were never built.
    """

    graph_hashes: NDArray[np.bytes_]
    states: NDArray[np.int8]
    cells: NDArray[np.bytes_] | None
    figures: pd.DataFrame | None
    known_rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class KnownCells:
    """Every cell of a network that a store knows, whatever the device; the columns belong together.

    Args:
        alias_ids, model_ids: what the store knows it by, and the model that it stands for.
        graph_hashes: as in :class:`Standings`.
        cells: as there; None unless they were asked for.
    """

    alias_ids: NDArray[np.int64]
    model_ids: NDArray[np.int64]
    graph_hashes: NDArray[np.bytes_]
    cells: NDArray[np.bytes_] | None


@dataclass(frozen=True)
class Request:
    """What :meth:`leti_opt.store.LatencyStore.standings` was asked for."""

    identity: DeviceIdentity
    epoch: DeviceEpoch
    network_digest: str
    renderer: str
    protocol: MeasurementProtocol
    min_runs: int


@dataclass(frozen=True)
class Scope:
    """Where a request's answers may come from.

    Args:
        request: what is asked.
        epoch_ids: the epochs whose measurements are served.
        device_id: whose failures count; None for a device that the store does not know.
    """

    request: Request
    epoch_ids: list[int]
    device_id: int | None

    @property
    def measured(self) -> ColumnElement[bool]:
        """Of measurements that may be served: those that answer."""
        unchecked = protocol_rules.is_unchecked(self.request.identity.published)
        return unchecked | protocol_rules.serves(self.request.protocol, self.request.min_runs)

    @property
    def gives_up(self) -> ColumnElement[bool]:
        """Of measurements that do not answer: those that show that no further attempt would."""
        return protocol_rules.gives_up(self.request.protocol, self.request.min_runs)

    @property
    def in_epochs(self) -> ColumnElement[bool]:
        """Of measurements: those that may be served."""
        return measurements.c.epoch_id.in_(self.epoch_ids)

    @property
    def in_epochs_unindexed(self) -> ColumnElement[bool]:
        """The same, for a query that has the ids already: an index of epochs would only mislead it."""
        return (measurements.c.epoch_id + 0).in_(self.epoch_ids)

    @property
    def failed(self) -> ColumnElement[bool]:
        """Of failures: those that go for the device; another runtime's do not, whatever its links."""
        of_device = or_(failures.c.device_id.is_(None), failures.c.device_id == self.device_id)
        return and_(of_device, failures.c.epoch_id.is_(None) | failures.c.epoch_id.in_(self.epoch_ids))

    def of_network(self, table: Any) -> ColumnElement[bool]:
        """Of aliases or failures: those of the request's network and renderer."""
        return and_(table.c.network_digest == self.request.network_digest, table.c.renderer == self.request.renderer)


@dataclass(frozen=True)
class CellRows:
    """Cells with the models that they stand for; a cell that was never built has the model 0.

    ``reasons`` holds, by position, why a cell is infeasible where only a failure of the cell itself says so.
    """

    model_ids: NDArray[np.int64]
    graph_hashes: NDArray[np.bytes_]
    states: NDArray[np.int8]
    cells: NDArray[np.bytes_] | None
    reasons: dict[int, str]
    known_rows: NDArray[np.int64]


def scope_of(connection: Connection, request: Request) -> Scope:
    """Where the answers to a request may come from."""
    found = connection.execute(select(devices.c.id).where(devices.c.digest == request.identity.digest)).scalar()
    served = links.served_epoch_ids(connection, request.identity, request.epoch)
    return Scope(request, sorted(served), None if found is None else int(found))


def known_cells(connection: Connection, network_digest: str, renderer: str, cells: bool) -> KnownCells:
    """See :meth:`leti_opt.store.LatencyStore.known_cells`."""
    of_network = and_(aliases.c.network_digest == network_digest, aliases.c.renderer == renderer)
    wanted = [aliases.c.id, aliases.c.model_id, aliases.c.graph_hash, *([aliases.c.cell] if cells else [])]
    alias_ids, model_ids, graph_hashes, *texts = packed(connection, wanted, of_network)
    return KnownCells(alias_ids, model_ids, graph_hashes, texts[0] if texts else None)


def load(
    connection: Connection, request: Request, cells: bool, figures: bool, known: KnownCells | None = None
) -> Standings:
    """See :meth:`leti_opt.store.LatencyStore.standings`."""
    scope = scope_of(connection, request)
    known = known or known_cells(connection, request.network_digest, request.renderer, cells)
    found = _rows(connection, scope, known)
    table = None
    if figures:
        from leti_opt.store import standing_figures

        table = standing_figures.load(connection, scope, found)
    return Standings(found.graph_hashes, found.states, found.cells, table, found.known_rows)


def _rows(connection: Connection, scope: Scope, known: KnownCells) -> CellRows:
    """The known cells by the standings of their models, then what failures say of single cells."""
    by_model = _states_of_models(connection, scope)
    states = by_model[np.minimum(known.model_ids, len(by_model) - 1)]
    failed_cells = _failed_cells(connection, scope)
    told = {row.alias_id: row.reason for row in failed_cells if row.alias_id is not None}
    failed = np.flatnonzero(np.isin(known.alias_ids, list(told)) & (states == _NOTHING)) if told else _NO_ROWS
    states[failed] = State.INFEASIBLE
    answered = np.flatnonzero(states != _NOTHING)
    at = np.searchsorted(answered, failed).tolist()
    reasons = {row: told[alias_id] for row, alias_id in zip(at, known.alias_ids[failed].tolist(), strict=True)}
    unbuilt = {(row.graph_hash, row.cell): row.reason for row in failed_cells if row.alias_id is None}
    reasons |= dict(enumerate(unbuilt.values(), start=len(answered)))
    return CellRows(
        np.concatenate([known.model_ids[answered], np.zeros(len(unbuilt), dtype=np.int64)]),
        _joined(known.graph_hashes[answered], [graph_hash for graph_hash, _ in unbuilt]),
        np.concatenate([states[answered], np.full(len(unbuilt), State.INFEASIBLE, dtype=np.int8)]),
        None if known.cells is None else _joined(known.cells[answered], [cell for _, cell in unbuilt]),
        reasons,
        answered,
    )


def _states_of_models(connection: Connection, scope: Scope) -> NDArray[np.int8]:
    """A state for each model's id; the last entry stands for every larger id."""
    (failed,) = packed(connection, [failures.c.model_id], failures.c.model_id.is_not(None) & scope.failed)
    answering, others = _judged(connection, scope, select().where(scope.in_epochs))
    # The few withdrawn ones are found apart, which is quicker than asking each whether it was.
    withdrawn, withdrawn_others = _judged(connection, scope, _WITHDRAWN.where(scope.in_epochs_unindexed))
    answers = np.bincount(answering, minlength=1)
    measured = np.flatnonzero(answers > np.bincount(withdrawn, minlength=len(answers)))
    unstable = _unstable(connection, scope, np.setdiff1d(others, withdrawn_others))
    states = np.full(2 + max(ids.max(initial=0) for ids in (failed, unstable, measured)), _NOTHING, dtype=np.int8)
    for ids, state in ((failed, State.INFEASIBLE), (unstable, State.UNSTABLE), (measured, State.MEASURED)):
        states[ids] = state
    return states


def _judged(connection: Connection, scope: Scope, query: Select[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Models of the measurements that answer, and the ids of the measurements that do not."""
    # One column for both, so that each row is judged once.
    either = case((scope.measured, measurements.c.model_id), else_=-measurements.c.id)
    (found,) = _packed(connection, [either], query)
    return found[found > 0], -found[found < 0]


def _unstable(connection: Connection, scope: Scope, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Models of those of some measurements that used up their attempts."""
    found = [
        packed(connection, [measurements.c.model_id], measurements.c.id.in_(some.tolist()) & scope.gives_up)[0]
        for some in np.array_split(ids, len(ids) // _IDS + 1)
    ]
    return np.concatenate(found)


def _failed_cells(connection: Connection, scope: Scope) -> Sequence[Any]:
    """Failures that name a cell, with the alias where there is one; newest last."""
    alias = and_(*(aliases.c[name] == failures.c[name] for name in _ALIAS))
    return connection.execute(
        select(failures.c.graph_hash, failures.c.cell, failures.c.reason, aliases.c.id.label("alias_id"))
        .select_from(failures.outerjoin(aliases, alias))
        .where(failures.c.cell.is_not(None), scope.of_network(failures), scope.failed)
        .order_by(failures.c.failed_at, failures.c.id)
    ).all()


def packed(
    connection: Connection, columns: Sequence[ColumnElement[Any]], condition: ColumnElement[bool]
) -> list[NDArray[Any]]:
    """Columns of integers, which may be absent, and of texts without line breaks, in one order."""
    return _packed(connection, columns, select().where(condition))


def _packed(connection: Connection, columns: Sequence[ColumnElement[Any]], query: Select[Any]) -> list[NDArray[Any]]:
    are_texts = [column.type.python_type is str for column in columns]
    texts = [
        func.aggregate_strings(column if is_text else cast(column, Text), _SEPARATOR)
        for column, is_text in zip(columns, are_texts, strict=True)
    ]
    count, *found = connection.execute(query.add_columns(func.count(), *texts)).one()
    return [_texts(text, count) if is_text else _integers(text) for is_text, text in zip(are_texts, found, strict=True)]


def _integers(text: str | None) -> NDArray[np.int64]:
    return np.fromstring(text or "", dtype=np.int64, sep=_SEPARATOR)


def _texts(text: str | None, count: int) -> NDArray[np.bytes_]:
    """Hashes all have one length, so that they are columns of a table of characters."""
    if text is None:
        return np.empty(0, dtype=np.bytes_)
    width = (len(text) + 1) // count
    if width > 1 and text.isascii() and width * count == len(text) + 1:
        table = np.frombuffer((text + _SEPARATOR).encode("ascii"), dtype=np.uint8).reshape(count, width)
        if (table[:, -1] == ord(_SEPARATOR)).all() and text.count(_SEPARATOR) == count - 1:
            return np.ascontiguousarray(table[:, :-1]).view(f"S{width - 1}").reshape(count)
    return np.char.encode(np.array(text.split(_SEPARATOR), dtype=np.str_), "utf-8")


def _joined(first: NDArray[np.bytes_], second: list[str]) -> NDArray[np.bytes_]:
    return np.concatenate([first, np.char.encode(np.array(second, dtype=np.str_), "utf-8")]) if second else first


_NOTHING = -1
_NO_ROWS = np.empty(0, dtype=np.int64)
_SEPARATOR = "\n"
_IDS = 5_000
"""How many ids a condition names at most."""
_WITHDRAWN = select().select_from(suspicions.join(measurements))
_ALIAS = ("graph_hash", "network_digest", "renderer", "cell")
