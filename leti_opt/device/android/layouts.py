"""Whether networks that share one block of weights on a phone run as fast as whole files, and what was found there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, variance
from typing import Any, Literal

from leti_opt.atomic_file import replacing
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InfeasibleError, InvalidInputError

Layout = Literal["resident", "file"]

STARTS = 3
MOST_STARTS = 9
LARGEST_DIFFERENCE = 0.01
"""Share of the latency beyond which the layouts count as different."""

_LAYOUTS: tuple[Layout, Layout] = ("resident", "file")
_VERSION = 1


@dataclass(frozen=True)
class LayoutTimes:
    """One network in both layouts.

    Args:
        model: its name.
        resident_ms: mean latency of each start with the resident block.
        file_ms: of each start with a whole file.
        refused: why the device refuses the network; it then says nothing of the time.
        only_file: it refuses the resident layout alone.
    """

    model: str
    resident_ms: tuple[float, ...] = ()
    file_ms: tuple[float, ...] = ()
    refused: str = ""
    only_file: bool = False

    @property
    def difference(self) -> float:
        """How much slower the resident layout is, as a share of the whole file's latency.

        >>> round(LayoutTimes("cell", (10.2, 10.2), (10.0, 10.0)).difference, 4)
        0.02
        """
        return fmean(self.resident_ms) / fmean(self.file_ms) - 1

    @property
    def uncertainty(self) -> float:
        """Half the 95 % interval of the difference, from the spread of repeated starts."""
        count = len(self.resident_ms)
        pooled = (variance(self.resident_ms) + variance(self.file_ms)) / 2
        return _student(2 * count - 2) * math.sqrt(2 * pooled / count) / fmean(self.file_ms)

    @property
    def spread_of_starts(self) -> float:
        """Standard deviation between starts of one layout, as a share of the latency."""
        return math.sqrt((variance(self.resident_ms) + variance(self.file_ms)) / 2) / fmean(self.file_ms)

    @property
    def differs(self) -> bool | None:
        """Whether the layouts differ by more than one percent; None where that cannot be said."""
        if self.refused:
            return self.only_file or None
        if abs(self.difference) - self.uncertainty > LARGEST_DIFFERENCE:
            return True
        return False if abs(self.difference) + self.uncertainty <= LARGEST_DIFFERENCE else None


@dataclass(frozen=True)
class LayoutChoice:
    """Which layout to use on a phone, and why.

    Args:
        layout: ``resident``, unless that was shown to change the figures.
        times: of each network.
    """

    layout: Layout
    times: tuple[LayoutTimes, ...]

    @property
    def reason(self) -> str:
        """One line for people."""
        only_file = [times for times in self.times if times.only_file]
        if only_file:
            return f"the resident block makes the phone refuse {only_file[0].model}: whole files are used"
        compared = [times for times in self.times if not times.refused]
        if not compared:
            return "no network ran, so the layouts could not be compared: whole files are used"
        differing = [times for times in compared if times.differs]
        if differing:
            worst = max(differing, key=lambda times: abs(times.difference))
            return f"the resident block changes {worst.model} by {worst.difference:+.1%}: whole files are used"
        if all(times.differs is False for times in compared):
            return f"no network differs by over {LARGEST_DIFFERENCE:.0%}: the block of weights stays on the phone"
        unseen = max(abs(times.difference) + times.uncertainty for times in compared)
        return (
            f"no network is seen to differ by over {LARGEST_DIFFERENCE:.0%}: the block of weights stays on the phone; "
            f"starts vary so much that a difference of up to {unseen:.1%} would not show"
        )


def compare_layouts(
    measure_ms: Callable[[MeasurableModel, Layout], float],
    models: Sequence[MeasurableModel],
    starts: int = STARTS,
    most_starts: int = MOST_STARTS,
) -> LayoutChoice:
    """Measure networks in both layouts, in turns, and choose.

    The layouts take turns, and each comes first every second time, so that a phone that warms up favours neither. A
    network on which the spread of starts leaves it open gets further starts.

    Args:
        measure_ms: one start: the mean latency of a network in a layout, in milliseconds.
        models: a few networks.
        starts: of each network in each layout.
        most_starts: likewise, where the first ones leave it open.

    Returns:
        ``resident`` unless one of the networks differs by over one percent beyond what starts differ among themselves;
        ``file`` also where the device refuses every network.

    Raises:
        InvalidInputError: fewer than 2 starts, or no networks.
        whatever ``measure_ms`` raises, but for InfeasibleError, which leaves the network out.
    """
    if starts < 2 or most_starts < starts or not models:
        raise InvalidInputError(
            f"layouts are compared by 2 starts or more of 1 network or more, not {starts} to {most_starts} starts "
            f"of {len(models)}"
        )
    times = [_times(measure_ms, model, starts, most_starts) for model in models]
    ran = any(not each.refused for each in times)
    layout: Layout = "resident" if ran and not any(each.differs for each in times) else "file"
    return LayoutChoice(layout, tuple(times))


def _times(
    measure_ms: Callable[[MeasurableModel, Layout], float], model: MeasurableModel, starts: int, most_starts: int
) -> LayoutTimes:
    found: dict[Layout, list[float]] = {layout: [] for layout in _LAYOUTS}
    for turn in range(most_starts):
        refused: dict[Layout, str] = {}
        for layout in _LAYOUTS if turn % 2 == 0 else _LAYOUTS[::-1]:
            try:
                found[layout].append(measure_ms(model, layout))
            except InfeasibleError as error:
                refused[layout] = error.reason
        if refused:
            return LayoutTimes(
                model.name, refused="; ".join(set(refused.values())), only_file=set(refused) == {"resident"}
            )
        times = LayoutTimes(model.name, tuple(found["resident"]), tuple(found["file"]))
        if turn + 1 >= starts and times.differs is not None:
            break
    return times


def layouts_file() -> Path:
    """Where the choices are kept, in the user's config folder; it may not be there."""
    import platformdirs

    return Path(platformdirs.user_config_dir("leti_opt")) / "layouts.json"


def known_layout(phone_unit: str, binary_sha256: str, unit: str) -> Layout | None:
    """The layout that was found right for a phone.

    Args:
        phone_unit: pseudonym of the phone's serial number (:attr:`DeviceEpoch.unit`).
        binary_sha256: of its benchmark_model.
        unit: ``cpu``, ``gpu`` or ``npu``.

    Returns:
        None where it was not found out.

    Raises:
        InvalidInputError: the file of choices is damaged.
    """
    entry = _read().get(_key(phone_unit, binary_sha256, unit))
    return None if entry is None else entry["layout"]


def remember_layout(phone_unit: str, binary_sha256: str, unit: str, choice: LayoutChoice) -> Path:
    """Keep a choice, with the figures that led to it.

    Returns:
        The file that holds it.

    Raises:
        InvalidInputError: the file cannot be written, or is damaged.
    """
    from filelock import FileLock

    path = layouts_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            entry = {
                "layout": choice.layout,
                "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "networks": [asdict(times) for times in choice.times],
            }
            choices = _read() | {_key(phone_unit, binary_sha256, unit): entry}
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({"version": _VERSION, "phones": choices}, indent=1), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}; make it writable") from error
    return path


def _key(phone_unit: str, binary_sha256: str, unit: str) -> str:
    return f"{phone_unit} {binary_sha256} {unit}"


def _read() -> dict[str, dict[str, Any]]:
    path = layouts_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        choices: dict[str, dict[str, Any]] = content["phones"]
        whole = content["version"] == _VERSION and all(entry["layout"] in _LAYOUTS for entry in choices.values())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, repr(error)) from error
    if not whole:
        raise _damaged(path, "it holds what this version does not know")
    return choices


def _damaged(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"cannot read {path}: {why}; remove it, and run 'leti-opt devices setup' again for your phones"
    )


def _student(degrees: int) -> float:
    """Student's factor of a two-sided 95 % interval."""
    from scipy.special import stdtrit  # imported late: it takes longer than everything else here

    return float(stdtrit(degrees, 0.975))
