"""Whose fault it is when a network cannot be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from leti_opt.errors import AttemptError, InfeasibleError, InvalidModelError, LetiError, UnknownOperationError

Built = TypeVar("Built")


def blaming_the_architecture(build: Callable[[], Built]) -> Built:
    """Run a build; what it raises is the network's fault, unless the machine or the caller is to blame.

    Raises:
        InfeasibleError: it is the network's.
        Exception: whatever else it raised.
    """
    try:
        return build()
    except (OSError, ImportError, MemoryError, InvalidModelError, UnknownOperationError, AttemptError):
        raise
    except (NameError, AttributeError, TypeError, SyntaxError, AssertionError):
        raise  # a mistake in the code that builds says nothing of the network
    except InfeasibleError:
        raise
    except LetiError as error:
        raise InfeasibleError(f"cannot be built: {error}") from error
    except Exception as error:
        raise InfeasibleError(f"cannot be built: {type(error).__name__}: {error}") from error
