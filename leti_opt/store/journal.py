"""Failures, scores of cells, and the journal of what an optimizer was told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.store import links, registry
from leti_opt.store.prepared import Prepared
from leti_opt.store.records import CellAlias, EvaluationRecord, FailureRecord, ScoreRecord
from leti_opt.store.schema import devices, epochs, evaluations, failures, models, scores, searches
from leti_opt.store.values import digest, moment, number, plain_json

STAGES = ("build", "load", "run")


def add_failure(connection: Connection, failure: FailureRecord, model: MeasurableModel | None) -> int:
    """Store a failure and whatever it refers to. Returns its id; one that is equal in everything is found."""
    model_id = None if model is None else registry.add_model(connection, model)
    device_id = registry.add_device(connection, failure.device) if failure.device else None
    epoch_id = registry.add_epoch(connection, device_id, failure.epoch) if device_id and failure.epoch else None
    if failure.alias is not None and model_id is not None:
        registry.add_alias(connection, failure.alias, model_id)
    values = {
        "model_id": model_id,
        **registry.alias_values(failure.alias),
        "device_id": device_id,
        "epoch_id": epoch_id,
        "stage": failure.stage,
        "reason": failure.reason,
        "failed_at": moment(failure.failed_at, "failed_at"),
        "tool": failure.tool,
        "commit": failure.commit,
    }
    return registry.add_once(connection, failures, values)


def check_failure(failure: FailureRecord) -> None:
    """Refuse a failure that says too little.

    Raises:
        InvalidInputError: the message says what is wrong.
    """
    if failure.stage not in STAGES:
        raise InvalidInputError(f"a failure's stage is one of {', '.join(STAGES)}, not {failure.stage!r}")
    if failure.model_key is None and failure.alias is None:
        raise InvalidInputError("a failure belongs to a model or to a cell; give model=… or alias=…")
    if failure.epoch is not None and failure.device is None:
        raise InvalidInputError("a failure with an epoch needs its device; give device=…")


def load_failures(
    connection: Connection,
    model_key: str | None,
    alias: CellAlias | None,
    identity: DeviceIdentity | None,
    epoch: DeviceEpoch | None = None,
) -> list[FailureRecord]:
    """Failures of a model or a cell, newest first; those without a device or an epoch go for every one.

    A panel says nothing of what another runtime refuses, so links lead to other epochs of this device only.
    """
    if alias is None and model_key is None:
        rows = _FAILURES.all(connection)
    else:
        key = model_key or (registry.resolve(connection, alias) if alias else None)
        found = _FAILURES_OF_CELL.all(connection, **registry.alias_values(alias)) if alias else []
        found += _FAILURES_OF_MODEL.all(connection, wanted=key) if key else []
        rows = list({row.id: row for row in found}.values())
    if identity is not None:
        rows = [row for row in rows if row.device_digest in (None, identity.digest)]
    if identity is not None and epoch is not None and any(row.epoch_id is not None for row in rows):
        served = links.served_epoch_ids(connection, identity, epoch)
        rows = [row for row in rows if row.epoch_id is None or row.epoch_id in served]
    return [_failure(row) for row in sorted(rows, key=lambda row: (row.failed_at, row.id), reverse=True)]


def _failure(row: Any) -> FailureRecord:
    alias = None if row.cell is None else CellAlias(row.graph_hash, row.network_digest, row.renderer, row.cell)
    return FailureRecord(
        stage=row.stage,
        reason=row.reason,
        failed_at=row.failed_at,
        model_key=row.key,
        alias=alias,
        device=None if row.kind is None else registry.identity_of(row),
        epoch=None if row.system_build is None else registry.epoch_of(row),
        tool=row.tool,
        commit=row.commit,
    )


def add_score(connection: Connection, score: ScoreRecord) -> int:
    """Store a score, or find the one that this evaluator gave the cell before: the first one stands."""
    known = _SCORE.first(connection, cell_text=score.cell, evaluator=score.evaluator_digest)
    if known is not None:
        return int(known.id)
    values = {
        "cell": score.cell,
        "graph_hash": score.graph_hash,
        "evaluator_digest": score.evaluator_digest,
        "evaluator": score.evaluator,
        "value": number(score.value, "a score"),
        "details": plain_json(dict(score.details), "details of a score"),
        "duration_s": number(score.duration_s, "duration_s"),
        "scored_at": moment(score.scored_at, "scored_at"),
    }
    return registry.inserted_id(connection.execute(insert(scores), values))


def load_score(connection: Connection, cell: str, evaluator_digest: str) -> ScoreRecord | None:
    """The score that an evaluator gave a cell, or None."""
    row = _SCORE.first(connection, cell_text=cell, evaluator=evaluator_digest)
    if row is None:
        return None
    return ScoreRecord(
        cell=row.cell,
        graph_hash=row.graph_hash,
        evaluator_digest=row.evaluator_digest,
        evaluator=row.evaluator,
        value=row.value,
        duration_s=row.duration_s,
        scored_at=row.scored_at,
        details=row.details,
    )


def open_search(connection: Connection, settings: Mapping[str, Any]) -> int:
    """Id of the search with these settings, stored now or before."""
    wanted = digest(dict(settings), "settings of a search")
    found = connection.execute(select(searches.c.id).where(searches.c.digest == wanted)).scalar()
    if found is not None:
        return int(found)
    plain = plain_json(dict(settings), "settings of a search")
    values = {"digest": wanted, "settings": plain, "created_at": datetime.now(UTC)}
    return registry.inserted_id(connection.execute(insert(searches), values))


def add_evaluation(connection: Connection, search: int, evaluation: EvaluationRecord) -> None:
    """Write an entry of the journal. The same entry again changes nothing.

    Raises:
        NotFoundError: there is no such search.
        StoreError: the position holds something else.
    """
    if connection.execute(select(searches.c.id).where(searches.c.id == search)).scalar() is None:
        raise NotFoundError(f"the store has no search {search}; call open_search first")
    losses = [number(loss, "a loss") for loss in evaluation.losses]
    if not all(math.isfinite(loss) for loss in losses):
        raise InvalidInputError(f"losses must be finite, not {evaluation.losses}; an optimizer takes no other")
    known = connection.execute(
        _EVALUATIONS.where(evaluations.c.position == evaluation.position), {"of": search}
    ).first()
    if known is not None:
        told = (known.cell, list(known.losses), known.status)
        if told != (evaluation.cell, losses, evaluation.status):
            raise StoreError(
                f"position {evaluation.position} of search {search} was told as {told}, now as "
                f"{(evaluation.cell, losses, evaluation.status)}; two processes run the same search: end one"
            )
        return
    values = {
        "search_id": search,
        "position": int(evaluation.position),
        "cell": evaluation.cell,
        "losses": losses,
        "status": evaluation.status,
        "told_at": moment(evaluation.told_at, "told_at"),
    }
    connection.execute(insert(evaluations), values)


def load_evaluations(connection: Connection, search: int) -> list[EvaluationRecord]:
    """The journal of a search, in order of position."""
    return [
        EvaluationRecord(row.position, row.cell, tuple(row.losses), row.status, row.told_at)
        for row in connection.execute(_EVALUATIONS, {"of": search})
    ]


_ANY_FAILURE = select(
    failures,
    models.c.key,
    devices.c.digest.label("device_digest"),
    *registry.IDENTITY_COLUMNS,
    *registry.EPOCH_COLUMNS,
).select_from(
    failures.outerjoin(models)
    .outerjoin(devices, devices.c.id == failures.c.device_id)
    .outerjoin(epochs, epochs.c.id == failures.c.epoch_id)
)
_FAILURES = Prepared(_ANY_FAILURE)
_FAILURES_OF_MODEL = Prepared(_ANY_FAILURE.where(models.c.key == bindparam("wanted")))
_FAILURES_OF_CELL = Prepared(
    _ANY_FAILURE.where(*(failures.c[name] == bindparam(name) for name in registry.ALIAS_COLUMNS))
)
_SCORE = Prepared(
    select(scores).where(scores.c.cell == bindparam("cell_text"), scores.c.evaluator_digest == bindparam("evaluator"))
)
_EVALUATIONS = select(evaluations).where(evaluations.c.search_id == bindparam("of")).order_by(evaluations.c.position)
