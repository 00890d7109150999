"""Before a search: is this machine busy with something else, and what will that cost?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from leti_opt.device.host_health import HostActivity, observe_host
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import hold
from leti_opt.objective.canary import canary_model
from leti_opt.objective.measuring import MeasuringService

BUSY_CORES = 0.2
TRIALS = 5
_OBSERVED_S = 0.5
_NAMED = 3


@dataclass(frozen=True)
class BusyForecast:
    """What other work on this machine means for measuring on it.

    Args:
        activity: what was seen.
        kept: whether each trial measurement of a small network kept the protocol's rule.
        slowdown: how many times slower the trials were than that network usually is; None where that is not known.
        max_attempts: where the protocol gives a network up.
    """

    activity: HostActivity
    kept: Sequence[bool]
    slowdown: float | None
    max_attempts: int

    @property
    def attempts(self) -> float:
        """Attempts that a network will take, by the trials."""
        return self.max_attempts if not any(self.kept) else min(self.max_attempts, len(self.kept) / sum(self.kept))

    def lines(self) -> list[str]:
        """What is the matter, and what it will cost.

        >>> from leti_opt.device.host_health import BusyProcess
        >>> activity = HostActivity(0.5, 1.25, 0.0, (BusyProcess("ffmpeg", 7, 1.2),))
        >>> for line in BusyForecast(activity, [True, False, True, False, True], 1.5, 5).lines():
        ...     print(line)
        this machine is busy: other processes use 1.2 cores (ffmpeg, pid 7: 1.2), 0.0 cores are stolen
        3 of 5 trial measurements kept the rule: expect 1.7 attempts a network
        the trials were 1.50 times slower than usual: what is measured meanwhile may be withdrawn and measured again
        """
        named = ", ".join(f"{one.name}, pid {one.pid}: {one.cores:.1f}" for one in self.activity.busy[:_NAMED])
        lines = [
            f"this machine is busy: other processes use {self.activity.others_cores:.1f} cores"
            f"{f' ({named})' if named else ''}, {self.activity.steal_cores:.1f} cores are stolen",
            f"{sum(self.kept)} of {len(self.kept)} trial measurements kept the rule: "
            f"expect {self.attempts:.1f} attempts a network",
        ]
        if self.slowdown is not None:
            lines.append(
                f"the trials were {self.slowdown:.2f} times slower than usual: "
                "what is measured meanwhile may be withdrawn and measured again"
            )
        return lines


def forecast_busy(service: MeasuringService) -> BusyForecast | None:
    """Watch this host for half a second; if it is busy, try what measuring costs now.

    Returns:
        None where the service does not measure on this host, or the host is idle enough.

    Raises:
        DeviceError: the device is gone.
    """
    if service.offline or service.identity.kind != "host-cpu":
        return None
    activity = observe_host(_OBSERVED_S)
    if max(activity.others_cores, activity.steal_cores) < BUSY_CORES:
        return None
    usual = service.store.find(canary_model().key, service.identity, service.epoch)
    usual_ms = median(look.batch.statistic("median") for look in usual) if usual else None
    trials = _trials(service)
    slowdown = None if usual_ms is None else median(pace for _, pace in trials) / usual_ms
    return BusyForecast(activity, [kept for kept, _ in trials], slowdown, service.protocol.max_attempts)


def _trials(service: MeasuringService) -> list[tuple[bool, float]]:
    """Whether each kept the rule, and its median in milliseconds. They are stored, and withdrawn at once."""
    model = canary_model()
    protocol: MeasurementProtocol = replace(service.protocol, relative_error=None, runs_per_sample=1, max_attempts=1)
    found = []
    with hold(service.device.resources):
        for _ in range(TRIALS):
            trial = measure(service.device, model, protocol)
            key = service.store.add(model, trial, role="canary")
            service.store.suspect_one(key, "a trial on a busy machine")
            found.append((trial.stable, trial.batch.statistic("median")))
    return found
