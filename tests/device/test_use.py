from __future__ import annotations

import pytest

from leti_opt.device.use import COOLING, TIMED_RUNS, DeviceUse


def test_seconds_of_a_kind_add_up() -> None:
    use = DeviceUse()
    use.add(TIMED_RUNS, 1.5)
    use.add(TIMED_RUNS, 2.0)
    use.add(COOLING, 0.25)
    assert use.seconds() == {COOLING: 0.25, TIMED_RUNS: 3.5}


def test_time_that_ends_with_an_error_is_counted() -> None:
    moments = iter([10.0, 12.5])
    use = DeviceUse(clock=lambda: next(moments))
    with pytest.raises(OSError, match="gone"), use.timing(COOLING):
        raise OSError("gone")
    assert use.seconds() == {COOLING: 2.5}


def test_what_is_going_on_counts_already() -> None:
    now = [0.0]
    use = DeviceUse(lambda: now[0])
    with use.timing("cooling"):
        now[0] = 2.0
        assert use.seconds() == {"cooling": 2.0}
        now[0] = 3.0
    now[0] = 9.0
    assert use.seconds() == {"cooling": 3.0}
