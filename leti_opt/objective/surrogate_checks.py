"""What a surrogate refuses before it answers anything."""

from __future__ import annotations

from typing import Any

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.predictor.predictor import LatencyPredictor

ANSWERS = ("mean", "optimistic", "pessimistic")
"""What a surrogate may answer: the prediction, or the lower or upper end of its interval."""


def check_predictor(predictor: LatencyPredictor) -> None:
    """Refuse what is no predictor, or not a fitted one.

    Raises:
        InvalidInputError: it is so.
    """
    if not isinstance(predictor, LatencyPredictor):
        raise InvalidInputError(f"a surrogate needs a LatencyPredictor, not {predictor!r}")
    if not hasattr(predictor, "training_digest_"):
        raise InvalidInputError(f"this {type(predictor).__name__} has learned nothing yet; call fit first")


def check_numbers(answer: str, coverage: float, unsure_above: float) -> None:
    """Refuse unknown answers and shares that are none.

    Raises:
        InvalidInputError: one of them is so.
    """
    if answer not in ANSWERS:
        raise InvalidInputError(f"unknown answer {answer!r}; {did_you_mean(answer, ANSWERS)}")
    if not 0 < coverage < 1:
        raise InvalidInputError(f"coverage is a share between 0 and 1, not {coverage!r}")
    if not 0 <= unsure_above < float("inf"):
        raise InvalidInputError(f"unsure_above is a share of the prediction such as 0.1, not {unsure_above!r}")


def check_infeasible(penalty_ms: float, on_infeasible: str) -> None:
    """Refuse what infeasible networks cannot be answered with.

    Raises:
        InvalidInputError: it is so.
    """
    if on_infeasible not in ("penalty", "raise"):
        raise InvalidInputError(f"on_infeasible must be 'penalty' or 'raise', not {on_infeasible!r}")
    if not 0 < penalty_ms < float("inf"):
        raise InvalidInputError(f"penalty_ms must be a positive finite number, not {penalty_ms}")


def check_fallback(fallback: DeviceLatencyObjective, network: NetworkConfig, role: str = "fallback") -> None:
    """Refuse a fallback that measures other networks than a predictor knows.

    Args:
        fallback: what measures.
        network: of the predictor.
        role: what messages call it.

    Raises:
        InvalidInputError: it does; the message names every setting that differs.
    """
    if not isinstance(fallback, DeviceLatencyObjective):
        raise InvalidInputError(f"a {role} is a DeviceLatencyObjective, not {fallback!r}")
    if fallback.network == network:
        return
    other = fallback.network.settings
    differing = [
        f"{name}={value!r} and {other[name]!r}" for name, value in network.settings.items() if value != other[name]
    ]
    raise InvalidInputError(
        f"the predictor and the {role} are for different networks: {'; '.join(differing)}; give both the same "
        "NetworkConfig"
    )


def agreed(given: Any, of_fallback: Any, default: Any, name: str) -> Any:
    """What was given, else the fallback's, else a default.

    Raises:
        InvalidInputError: both are there and differ.
    """
    if given is not None and of_fallback is not None and given != of_fallback:
        raise InvalidInputError(f"{name} is {given!r} here and {of_fallback!r} in the fallback; give it once")
    return next((value for value in (given, of_fallback) if value is not None), default)
