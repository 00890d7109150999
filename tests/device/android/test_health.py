import os
import subprocess
from dataclasses import fields, replace
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leti_opt.device.android.health import Guard, GuardSettings, read_state, unfit
from leti_opt.device.android.phone_state import STATE_COMMAND, PhoneState, parse_state, state_metrics
from leti_opt.errors import InvalidDeviceUriError, PhoneError, PhoneGoneError
from tests.device.android.written_phones import NAMES, Reply, WrittenPhone, read_phone


@cache
def state_text(name):
    return read_phone(name)["state"]


def state_of(name):
    return parse_state(state_text(name))


def test_state_of_a_phone():
    assert state_of("android14_tensor") == PhoneState(
        battery_percent=87,
        battery_c=28.5,
        charging=True,
        thermal_status=0,
        clocks_khz={0: 300_000, 4: 400_000, 6: 500_000},
        max_clocks_khz={0: 1_803_000, 4: 2_348_000, 6: 2_252_000},
        governors={0: "sched_pixel", 4: "sched_pixel", 6: "sched_pixel"},
        screen_on=False,
        available_memory_bytes=3_254_120 * 1024,
        uptime_s=91234.56,
        booted=True,
    )


def test_lines_that_a_vendor_adds_do_not_replace_androids():
    state = state_of("android13_vendor_lines")
    assert (state.battery_percent, state.battery_c, state.charging) == (100, 41.2, True)
    assert state.thermal_status == 2
    assert state.screen_on is False
    assert state.max_clocks_khz == {0: 1_785_600, 7: 2_054_400}


def test_an_old_phone_reveals_less_and_counts_its_battery_otherwise():
    state = state_of("android8_no_thermal")
    assert (state.battery_percent, state.battery_c, state.charging) == (14, -1.5, False)
    assert state.thermal_status is None
    assert state.available_memory_bytes is None
    assert state.screen_on is True
    assert state.max_clocks_khz == {0: 1_989_000}


def test_what_is_denied_is_absent():
    assert state_of("android12_denied") == PhoneState(booted=True)


def test_readings_that_were_set_by_hand_are_not_believed():
    state = state_of("android15_vulkan")
    assert (state.battery_percent, state.battery_c, state.charging, state.thermal_status) == (None, None, None, None)
    assert state.frozen == ("battery", "thermal status")
    assert state.screen_on is True


def test_a_phone_that_is_starting_says_so():
    assert state_of("starting").booted is False
    assert parse_state("==leti_opt booted\n|running\n==leti_opt end\n").booted is False
    assert parse_state("==leti_opt booted\n|\n==leti_opt end\n").booted is None


@pytest.mark.parametrize(
    ("battery", "charging"),
    [
        ("status: 1\nUSB powered: true\n", True),
        ("USB powered: true\nAC powered: false\n", True),
        ("USB powered: false\n", False),
        ("status: 4\nUSB powered: true\n", False),
        ("level: 3\n", None),
    ],
)
def test_charging(battery, charging):
    assert parse_state(f"==leti_opt battery\n{battery}==leti_opt end\n").charging is charging


@pytest.mark.parametrize(
    "battery",
    [
        "present: false\nlevel: 50\nscale: 100\ntemperature: 250\n",
        "level: 101\nscale: 100\ntemperature: 0\n",
        "level: -1\nscale: 100\ntemperature: -2147483648\n",
        "level: 50\ntemperature: 28.5\n",
        "level: 50\nscale: 0\ntemperature:\n",
        "level: 50\nscale: 100\ntemperature: 250\n*** SERVICE 'battery' DUMP TIMEOUT (10000ms) EXPIRED ***\n",
    ],
)
def test_a_battery_without_sense_is_absent(battery):
    state = parse_state(f"==leti_opt battery\n{battery}==leti_opt end\n")
    assert (state.battery_percent, state.battery_c) == (None, None)


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_of_a_terminal_change_nothing(name):
    assert parse_state(state_text(name).replace("\n", "\r\n")) == state_of(name)


@given(st.sampled_from(NAMES), st.floats(0, 1))
@example("android14_tensor", 0.1)
def test_a_reply_that_is_cut_anywhere_gives_right_figures_or_none(name, share):
    whole = state_of(name)
    cut = parse_state(state_text(name)[: int(share * len(state_text(name)))])
    for one in fields(PhoneState):
        value, right = getattr(cut, one.name), getattr(whole, one.name)
        assert value in (None, {}, (), right) or (one.name == "frozen" and set(value) < set(right)), one.name


NOISE = st.lists(
    st.tuples(
        st.floats(0, 1), st.text(alphabet="ab:=|!? ", max_size=20).filter(lambda line: not line.startswith("=="))
    ),
    max_size=5,
)


@given(st.sampled_from(NAMES), NOISE)
def test_lines_in_between_change_nothing(name, noise):
    lines = state_text(name).split("\n")
    for share, line in noise:
        # A line of noise; the last element is what follows the last line end.
        lines.insert(int(share * (len(lines) - 1)), line)
    assert parse_state("\n".join(lines)) == state_of(name)


@given(st.text())
def test_any_text_gives_a_state(text):
    assert isinstance(parse_state(text), PhoneState)


def test_metrics_tell_the_state_with_units_and_leave_out_what_is_not_known():
    found = {metric.name: (metric.value, metric.unit) for metric in state_metrics(state_of("android14_tensor"))}
    assert found["battery"] == (87, "%")
    assert found["battery_temperature"] == (28.5, "degrees Celsius")
    assert found["thermal_status"] == (0, "0 to 6")
    assert found["screen_on"] == (0, "1 if it is lit")
    assert found["charging"] == (1, "1 if it charges")
    assert found["clock_core_6"] == (500, "MHz")
    assert found["clock_limit_core_6"] == (2252, "MHz")
    assert found["governor_sched_pixel"] == (3, "cores")
    assert found["available_memory"] == (3_254_120 * 1024, "bytes")
    assert found["uptime"] == (91234.56, "s")
    assert state_metrics(PhoneState()) == ()


SHIMS = """dumpsys() { case $1 in
battery) printf '  status: 2\\n  level: 87\\n  scale: 100\\n  temperature: 285';;
thermalservice) echo 'Thermal Status: 1';;
power) echo '  mWakefulness=Awake'; echo 'Display Power: state=OFF';;
*) echo '  mScreenState=ON';; esac; }
getprop() { case $1 in sys.boot_completed) echo 1;; *) echo stopped;; esac; }
"""


def run_in_shell(tmp_path, shims):
    cpufreq = tmp_path / "cpu/cpu3/cpufreq"
    cpufreq.mkdir(parents=True)
    (tmp_path / "cpu/cpu11").mkdir()
    (cpufreq / "scaling_cur_freq").write_text("300000\n")
    (cpufreq / "scaling_max_freq").write_text("1800000\n")
    (cpufreq / "scaling_governor").write_text("schedutil\n")
    (tmp_path / "uptime").write_text("12.50 40.00\n")
    (tmp_path / "meminfo").write_text("MemTotal:  20 kB\nMemAvailable:   10 kB\n")
    command = STATE_COMMAND.replace("/sys/devices/system/cpu", str(tmp_path / "cpu")).replace("/proc", str(tmp_path))
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        ["/bin/sh", "-c", shims + command], capture_output=True, text=True, timeout=20, check=True, env=environment
    )
    assert done.stderr == ""
    return done.stdout


def test_the_command_in_a_real_shell(tmp_path):
    text = run_in_shell(tmp_path, SHIMS)
    assert parse_state(text) == PhoneState(
        battery_percent=87,
        battery_c=28.5,
        charging=True,
        thermal_status=1,
        clocks_khz={3: 300_000},
        max_clocks_khz={3: 1_800_000},
        governors={3: "schedutil"},
        screen_on=False,
        available_memory_bytes=10_240,
        uptime_s=12.5,
        booted=True,
    )
    assert "mScreenState" not in text


def test_the_long_dump_is_asked_only_where_the_short_one_says_nothing(tmp_path):
    text = run_in_shell(tmp_path, SHIMS.replace("; echo 'Display Power: state=OFF'", ""))
    assert "mScreenState" in text
    assert parse_state(text).screen_on is True


def test_read_state_refuses_a_reply_that_was_cut():
    text = state_text("android14_tensor")
    phone = WrittenPhone("android14_tensor", replies=[("echo", text[: len(text) // 2])])
    with pytest.raises(PhoneGoneError, match=r"127.0.0.1:5555: reading its state: the reply was cut short"):
        read_state(phone)
    assert read_state(phone) == state_of("android14_tensor")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"battery_c": 40.1}, "its battery is at 40.1 °C, above 40 °C"),
        ({"thermal_status": 2}, "its thermal status is 2, above 1"),
        ({"battery_percent": 14}, "its battery is at 14 %, below 15 %"),
        ({"booted": False}, "it has not finished starting"),
    ],
)
def test_what_makes_a_phone_unfit(changes, reason):
    fit = state_of("android14_tensor")
    assert unfit(fit, GuardSettings()) == ()
    assert unfit(replace(fit, **changes), GuardSettings()) == (reason,)


def test_limits_themselves_are_fit():
    assert unfit(PhoneState(battery_percent=15, battery_c=40.0, thermal_status=1), GuardSettings()) == ()


@pytest.mark.parametrize(
    "setting",
    [
        {"max_battery_c": float("nan")},
        {"max_battery_c": float("inf")},
        {"max_battery_c": -1},
        {"max_thermal_status": 7},
        {"min_battery_percent": 101},
        {"longest_wait_s": -1},
        {"longest_wait_s": float("inf")},
        {"look_every_s": 0},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(InvalidDeviceUriError, match=next(iter(setting))):
        GuardSettings(**setting)


class Moments:
    """A phone whose state is another at each look, and a clock that only sleeping moves."""

    address = "127.0.0.1:5555"

    def __init__(self, *texts, settings=None):
        self.texts = list(texts)
        self.now_s = 1000.0
        self.lines = []
        self.looks = 0
        self.guard = Guard(self, settings or GuardSettings(), lambda: self.now_s, self.sleep, self.lines.append)

    def sleep(self, seconds):
        self.now_s += seconds

    def shell(self, command, step, deadline_s=None, check=True):  # noqa: ARG002
        assert command == STATE_COMMAND
        self.looks += 1
        return Reply(0, self.texts.pop(0) if len(self.texts) > 1 else self.texts[0])


FIT = state_text("android14_tensor")
HOT = FIT.replace("temperature: 285", "temperature: 451")
THROTTLED = FIT.replace("Thermal Status: 0", "Thermal Status: 3")
LOW = FIT.replace("level: 87", "level: 9")
LOW_UNPLUGGED = LOW.replace("status: 2", "status: 3")


def test_a_fit_phone_is_not_waited_for():
    moments = Moments(FIT)
    assert moments.guard.wait() == (parse_state(FIT), 0.0)
    assert (moments.looks, moments.lines) == (1, [])


def test_a_hot_phone_is_waited_for_and_the_wait_is_told():
    moments = Moments(HOT, HOT, THROTTLED, FIT)
    state, waited_s = moments.guard.wait()
    assert (state, waited_s) == (parse_state(FIT), 30.0)
    assert moments.lines == [
        "127.0.0.1:5555: waiting, since its battery is at 45.1 °C, above 40 °C",
        "127.0.0.1:5555: fit again after 30 s",
    ]


def test_a_phone_that_stays_hot_is_given_up_with_advice():
    moments = Moments(HOT, settings=GuardSettings(longest_wait_s=60))
    with pytest.raises(PhoneError, match=r"127.0.0.1:5555: .*: after 60 s its battery is at 45.1 °C.*cool it"):
        moments.guard.wait()
    assert moments.now_s == 1060.0


def test_no_patience_at_all_refuses_at_the_first_look():
    moments = Moments(THROTTLED, settings=GuardSettings(longest_wait_s=0))
    with pytest.raises(PhoneError, match="thermal status is 3"):
        moments.guard.wait()
    assert moments.looks == 1


def test_a_low_battery_that_does_not_charge_is_refused_at_once():
    moments = Moments(LOW_UNPLUGGED)
    with pytest.raises(PhoneError, match="9 %, below 15 %, and does not charge; charge it"):
        moments.guard.wait()
    assert moments.looks == 1


def test_a_low_battery_that_charges_is_waited_for():
    moments = Moments(LOW, FIT)
    assert moments.guard.wait()[1] == 10.0


def test_a_phone_unplugged_while_it_charges_is_refused():
    with pytest.raises(PhoneError, match="does not charge"):
        Moments(LOW, LOW, LOW_UNPLUGGED).guard.wait()


def test_a_phone_that_is_starting_is_waited_for():
    moments = Moments(state_text("starting"), FIT)
    assert moments.guard.wait()[1] == 10.0
    assert any("not finished starting" in line for line in moments.lines)


def test_what_is_not_revealed_is_not_guarded_and_said_once():
    moments = Moments(state_text("android12_denied"))
    assert moments.guard.wait()[1] == 0.0
    assert moments.guard.wait()[1] == 0.0
    assert moments.lines == [
        "127.0.0.1:5555: it does not reveal its battery temperature, thermal status, battery charge, "
        "which is not guarded"
    ]


def test_frozen_readings_are_told_with_the_command_that_frees_them():
    moments = Moments(state_text("android15_vulkan"))
    moments.guard.wait()
    assert any("adb -s 127.0.0.1:5555 shell dumpsys battery reset" in line for line in moments.lines)
    assert any("adb -s 127.0.0.1:5555 shell cmd thermalservice reset" in line for line in moments.lines)
