"""Every exception that leti_opt raises on purpose.

Each one is also the builtin that a caller who knows nothing of this package would catch::

    LetiError
    ├── InvalidInputError (ValueError)         the caller handed in something unusable
    │   ├── InvalidArchitectureError
    │   │   └── DisconnectedArchitectureError
    │   ├── InvalidDefinitionError
    │   │   └── SpaceTooLargeError             more cells than this machine can enumerate
    │   ├── InvalidConfigError
    │   │   └── UnknownOperationError
    │   ├── InvalidModelError
    │   ├── AccuracyFileError              a file of accuracies that is missing, damaged or of another kind
    │   ├── InvalidDeviceUriError
    │   ├── InvalidProtocolError
    │   └── InvalidSearchError
    ├── NotFoundError (LookupError)            asked for something that is not there
    ├── InfeasibleError (RuntimeError)         the architecture's fault: the device cannot run it
    ├── AttemptError (RuntimeError)            one attempt at measuring ended without figures
    ├── StatisticUnavailableError (LookupError) the device does not reveal this statistic
    ├── CampaignRunningError (RuntimeError)    another process of this host is at it
    ├── TableFileError (OSError)               a saved table that is missing, damaged or not ours
    ├── PredictorFileError (OSError)           a saved predictor that is missing, damaged or of another version
    ├── DeviceError (OSError)                  the device's fault: gone, busy, refused
    │   └── PhoneError                         which phone, at which step, what to do
    │       └── PhoneGoneError                 it does not answer, and may come back
    └── StoreError (OSError)
        ├── StoreConnectionError               the store's server does not answer
        ├── ForeignStoreError                  the file is not a store of ours
        ├── CorruptStoreError
        └── StoreVersionError                  written by a newer leti_opt

Every message says what was wrong, with which value, and what to do next. Three warnings tell of what went on all the
same: :class:`SpaceSizeWarning` (an enumeration may not fit into memory), :class:`EpochWarning` (a table mixes figures
from before and after a device changed) and :class:`TableCacheWarning` (a result could not be kept on disk, or what was
kept had to be replaced); each is a UserWarning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LetiError(Exception):
    """Base of all exceptions of this package."""


class InvalidInputError(LetiError, ValueError):
    """The caller handed in something unusable; nothing was started."""


class InvalidArchitectureError(InvalidInputError):
    """An adjacency matrix and operations that do not make a cell."""


class DisconnectedArchitectureError(InvalidArchitectureError):
    """No path leads from the cell's input to its output."""


class InvalidDefinitionError(InvalidInputError):
    """A search space that cannot exist."""


class SpaceTooLargeError(InvalidDefinitionError):
    """A search space with more cells than this machine can enumerate."""


class InvalidConfigError(InvalidInputError):
    """A network configuration that is wrong or does not fit the architecture."""


class UnknownOperationError(InvalidConfigError):
    """A network config that knows no layers for an operation."""


class InvalidModelError(InvalidInputError):
    """A file that is not a model, or not one that can be measured."""


class AccuracyFileError(InvalidInputError):
    """A file of accuracies that is missing, damaged, cut, or of another kind."""


class InvalidDeviceUriError(InvalidInputError):
    """A device URI with an unknown kind or option."""


class InvalidProtocolError(InvalidInputError):
    """A measurement protocol whose numbers contradict each other."""


class InvalidSearchError(InvalidInputError):
    """A search with an unknown optimizer, an empty budget and the like."""


class NotFoundError(LetiError, LookupError):
    """Asked for something that is not there."""


class InfeasibleError(LetiError, RuntimeError):
    """The device cannot run this network, and never will: the architecture's fault.

    Args:
        reason: one line, stored with the failure.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AttemptError(LetiError, RuntimeError):
    """One attempt at measuring ended without figures, for instance a crash or a hang."""


class StatisticUnavailableError(LetiError, LookupError):
    """The device does not reveal this statistic, and we do not make one up."""


class CampaignRunningError(LetiError, RuntimeError):
    """Another process of this host runs this campaign; started twice it would gain nothing."""


class TableFileError(LetiError, OSError):
    """A file of cells that is missing, damaged, not ours, or cannot be written."""


class PredictorFileError(LetiError, OSError):
    """A file of a predictor that is missing, damaged, not ours, of another version, or cannot be written."""


class DeviceError(LetiError, OSError):
    """The device's fault: unplugged, busy, unauthorized. It never becomes a score."""


class PhoneError(DeviceError):
    """A phone's fault.

    Args:
        phone: its address or URI.
        step: what was being done, for instance ``pushing the network``.
        what: what went wrong.
        advice: what to do about it.
    """

    def __init__(self, phone: str, step: str, what: str, advice: str) -> None:
        super().__init__(f"{phone}: {step}: {what}; {advice}")
        self.phone, self.step, self.what, self.advice = phone, step, what, advice

    def __reduce__(self) -> tuple[type[PhoneError], tuple[str, str, str, str]]:
        return type(self), (self.phone, self.step, self.what, self.advice)


class PhoneGoneError(PhoneError):
    """The phone does not answer: unplugged, restarting, offline. It may come back."""


class StoreError(LetiError, OSError):
    """The store cannot be opened, read or written."""


class StoreConnectionError(StoreError):
    """The server of the store's database does not answer; what was stored before is kept."""


class ForeignStoreError(StoreError):
    """The file or database is no store of leti_opt; it is left as it was."""


class CorruptStoreError(StoreError):
    """The store's file is damaged; it is left as it was."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of leti_opt."""


class SpaceSizeWarning(UserWarning):
    """The enumeration of a search space may need more memory than there is."""


class EpochWarning(UserWarning):
    """A table mixes figures from before and after a device changed, and nobody showed that they agree."""


class TableCacheWarning(UserWarning):
    """The cache of enumerated spaces cannot be written, or held a damaged file; the result is right all the same."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest, or list them all, for the end of an error message.

    >>> did_you_mean("conv3x3", ["conv3x3-bn-relu", "maxpool3x3"])
    "did you mean 'conv3x3-bn-relu'? Known: conv3x3-bn-relu, maxpool3x3"
    """
    names = list(known)
    nearest = difflib.get_close_matches(word, names, n=1)
    guess = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"{guess}Known: {', '.join(names)}"
