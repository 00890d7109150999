"""What is wrong with a user's settings, in words: each field, the value that was given, and the nearest right name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from leti_opt.errors import did_you_mean


def explained(error: ValidationError, root: type[BaseModel]) -> str:
    """One line for every fault that pydantic found.

    Args:
        error: what it raised.
        root: the model that was to be made.
    """
    lines = []
    found = error.errors()
    for fault in found:
        # An entry that is wrong leaves its list too short, which is no second fault.
        if fault["type"] == "too_short" and any(_is_within(other["loc"], fault["loc"]) for other in found):
            continue
        place = [part for part in fault["loc"] if not (isinstance(part, str) and "[" in part)]
        name = ".".join(str(part) for part in place)
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name}; {did_you_mean(str(place[-1]), _known(root, place[:-1]))}")
        elif fault["type"] == "missing":
            lines.append(f"{name} is missing")
        else:
            lines.append(f"{name}: {fault_text(fault)}" if name else fault_text(fault))
    return "; ".join(dict.fromkeys(lines))


def fault_text(fault: ErrorDetails) -> str:
    """What is wrong with one value."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    given = re.sub(r"://[^\s'\"]*@", "://***@", repr(fault["input"]))  # a store's URL may hold its password
    return f"{fault['msg']} (given: {given})"


def _is_within(inner: Sequence[Any], outer: Sequence[Any]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _known(model: type[BaseModel], place: Sequence[Any]) -> Iterable[str]:
    """Names of the fields of the section at a place."""
    for part in place:
        if isinstance(part, int):
            continue
        section = _section(model.model_fields[part].annotation)
        if section is None:
            break
        model = section
    return model.model_fields


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, one or several of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section(part)) is not None), None)
