"""What :class:`~leti_opt.device.protocol.MeasurementProtocol` says of a stored measurement, as conditions of SQL.

Whole devices are judged so in the database, row by row as the protocol itself would; a test holds both equal.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import ColumnElement, Double, and_, case, false, func, literal, or_, select

from leti_opt.device.certainty import MIN_RUNS
from leti_opt.device.protocol import MOST_RUNS_PER_SAMPLE, SAMPLE_MS, MeasurementProtocol
from leti_opt.store.schema import attempt_faults, attempts, measurements

Condition = ColumnElement[bool]

_columns = measurements.c


def is_unchecked(published: bool) -> Condition:
    """Whether ``Measurement.status`` is ``unchecked``, on a device that is ``published`` or not."""
    if not published:
        return false()
    return and_(_columns.status != "stable", or_(_columns.count.is_(None), _columns.std_ms.is_(None)))


def serves(protocol: MeasurementProtocol, min_runs: int) -> Condition:
    """:meth:`MeasurementProtocol.served_by`."""
    holds = [_is_share_of_mean(_columns.std_ms, protocol.max_relative_std, of_zero=True)]
    if protocol.relative_error is None:
        holds += [
            _columns.relative_error.is_(None),
            _columns.count >= min_runs * _columns.runs_per_sample,
            _has_samples_of(protocol),
        ]
    else:
        holds += [
            _columns.count >= MIN_RUNS * _columns.runs_per_sample,
            _is_share_of_mean(_columns.mean_error_ms, protocol.relative_error, of_zero=False),
        ]
    return and_(*holds)


def gives_up(protocol: MeasurementProtocol, min_runs: int) -> Condition:
    """:meth:`MeasurementProtocol.gives_up`."""
    if protocol.relative_error is None:
        asked = [_columns.relative_error.is_(None), _columns.min_runs >= min_runs, _has_samples_of(protocol)]
    else:
        asked = [_columns.relative_error <= _number(protocol.relative_error)]
    return and_(*asked, protocol.max_attempts <= attempt_count + _fault_count)


def is_true(condition: Condition) -> Condition:
    """A condition whose contrary is true where it cannot be told for want of a figure."""
    return case((condition, 1), else_=0) == 1


def _has_samples_of(protocol: MeasurementProtocol) -> Condition:
    if protocol.runs_per_sample is not None:
        return _columns.runs_per_sample == protocol.runs_per_sample
    return or_(
        _columns.runs_per_sample >= MOST_RUNS_PER_SAMPLE,
        _columns.runs_per_sample * _columns.mean_ms >= _number(SAMPLE_MS / 2),
    )


def _is_share_of_mean(figure: ColumnElement[Any], limit: float, of_zero: bool) -> Condition:
    """Whether a figure over the mean is within a limit; of a mean of zero no figure is, but perhaps zero itself."""
    of_zero_mean = (figure == 0 if math.isfinite(limit) else figure >= 0) if of_zero else false()
    share: ColumnElement[float] = figure.op("/", return_type=Double())(_columns.mean_ms)
    return case((_columns.mean_ms > 0, share <= _number(limit)), else_=of_zero_mean)


def _number(value: float) -> ColumnElement[float]:
    return literal(value, Double)


attempt_count = (
    select(func.count())
    .select_from(attempts)
    .where(attempts.c.measurement_id == measurements.c.id)
    .correlate(measurements)
    .scalar_subquery()
)
"""How many attempts of a measurement gave figures."""
_fault_count = (
    select(func.count())
    .select_from(attempt_faults)
    .where(attempt_faults.c.measurement_id == measurements.c.id)
    .correlate(measurements)
    .scalar_subquery()
)
