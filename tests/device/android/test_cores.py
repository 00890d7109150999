import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.cores import CORES_COMMAND, CoreGroup, affinity_mask, core_groups, read_core_groups
from leti_opt.errors import DeviceError, InvalidDeviceUriError, PhoneError, PhoneGoneError
from tests.device.android.written_phones import WrittenPhone, read_phone

TWO = (CoreGroup((0, 1, 2, 3), 1_800_000), CoreGroup((4, 5, 6, 7), 2_400_000))


def groups_of(name):
    return core_groups(read_phone(name)["cores"])


def test_three_groups_slowest_first():
    assert groups_of("android14_tensor") == (
        CoreGroup((0, 1, 2, 3), 1_803_000, 124),
        CoreGroup((4, 5), 2_348_000, 427),
        CoreGroup((6, 7), 2_850_000, 1024),
    )


def test_cores_may_be_printed_as_ranges():
    assert [group.cores for group in groups_of("android13_vendor_lines")] == [(0, 1, 2, 3), (4, 5, 6), (7,)]


def test_equal_cores_of_several_policies_are_one_group():
    text = "".join(f"core|{core}|\npolicy|{core}|{2_649_600 if core > 3 else 1_900_800}\n" for core in range(8))
    assert [group.cores for group in core_groups(text)] == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_the_kernels_rating_goes_before_the_clock():
    text = "core|0|1024\ncore|1|400\npolicy|0|2000000\npolicy|1|2000000\n"
    assert [group.cores for group in core_groups(text)] == [(1,), (0,)]
    assert [group.cores for group in core_groups(text.replace("2000000\npolicy", "1900000\npolicy"))] == [(1,), (0,)]


def test_a_core_whose_clock_is_hidden_is_placed_by_its_rating():
    assert groups_of("android15_vulkan") == (CoreGroup((0, 1), 1_704_000, 160), CoreGroup((2,), None, 1024))
    assert affinity_mask("big", groups_of("android15_vulkan")) == "4"


def test_core_order_does_not_decide_what_is_slow():
    text = "core|0|\ncore|1|\npolicy|0|2400000\npolicy|1|1800000\n"
    assert affinity_mask("little", core_groups(text)) == "2"


@pytest.mark.parametrize(
    ("wanted", "mask"),
    [
        ("all", ""),
        ("big", "f0"),
        ("little", "f"),
        ("f0", "f0"),
        ("0xF0", "f0"),
        ("1", "1"),
        ("0x01", "1"),
        ("ff", "ff"),
    ],
)
def test_masks(wanted, mask):
    assert affinity_mask(wanted, TWO) == mask


def test_big_is_all_but_the_slowest():
    assert affinity_mask("big", groups_of("android14_tensor")) == "f0"
    assert affinity_mask("little", groups_of("android14_tensor")) == "f"


@pytest.mark.parametrize("wanted", ["big", "little"])
def test_one_kind_of_cores_is_big_and_little(wanted):
    assert affinity_mask(wanted, groups_of("android8_no_thermal")) == ""


@pytest.mark.parametrize("wanted", ["big", "little"])
@pytest.mark.parametrize("name", ["android12_denied", "starting"])
def test_which_cores_are_fast_is_never_guessed(name, wanted):
    with pytest.raises(DeviceError, match=r"does not reveal.*\?cores=all"):
        affinity_mask(wanted, groups_of(name))


def test_cores_of_unknown_speed_can_be_named():
    groups = groups_of("android12_denied")
    assert groups == (CoreGroup((0, 1, 2, 3)),)
    assert affinity_mask("all", groups) == ""
    assert affinity_mask("c", groups) == "c"
    with pytest.raises(
        InvalidDeviceUriError, match="the cores 4, 5, 6, 7, which the phone does not have; it has 0, 1, 2"
    ):
        affinity_mask("f0", groups)


@pytest.mark.parametrize("wanted", ["bigg", "", "0", "0x", "0x0", "-1", "f 0", "4-7", "٣"])
def test_what_is_no_mask_is_refused(wanted):
    with pytest.raises(InvalidDeviceUriError, match="Known: big, little, all"):
        affinity_mask(wanted, TWO)


def test_line_ends_of_a_terminal_change_nothing():
    text = read_phone("android14_tensor")["cores"]
    assert core_groups(text.replace("\n", "\r\n")) == core_groups(text)


@given(st.text(alphabet="core|policy 0123456789-,\n\r", max_size=200))
def test_any_text_gives_groups_without_a_core_in_two(text):
    cores = [core for group in core_groups(text) for core in group.cores]
    assert len(cores) == len(set(cores))


def test_a_phone_is_asked_once():
    phone = WrittenPhone("android14_tensor")
    assert read_core_groups(phone) == groups_of("android14_tensor")
    assert len(phone.asked) == 1


def test_a_reply_that_is_cut_is_no_phone_with_fewer_cores():
    phone = WrittenPhone("android14_tensor", replies=[("C=", "core|0|124\ncore|1|124\npolicy|0 1 2 3|18030")])
    with pytest.raises(PhoneGoneError, match="cut short"):
        read_core_groups(phone)


def test_a_phone_without_cores_is_refused():
    with pytest.raises(PhoneError, match=r"lists no cores.*shell ls /sys/devices/system/cpu"):
        read_core_groups(WrittenPhone("android14_tensor", replies=[("C=", "policy||\nend of cores\n")]))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("with_policies", [True, False])
def test_the_command_in_a_real_shell(tmp_path, with_policies):
    cpu = tmp_path / "cpu"
    for core in range(4):
        write(cpu / f"cpu{core}/cpu_capacity", "1024\n" if core > 1 else "300\n")
        folder = cpu / (f"cpufreq/policy{core // 2 * 2}" if with_policies else f"cpu{core}/cpufreq")
        write(folder / "related_cpus", "2 3 \n" if core > 1 else "0 1\n")
        write(folder / "cpuinfo_max_freq", "2400000\n" if core > 1 else "1800000\n")
    write(cpu / "cpuidle/current_driver", "none\n")
    (cpu / "cpu0/cpu_capacity").chmod(0o444)
    command = CORES_COMMAND.replace("/sys/devices/system/cpu", str(cpu))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    assert core_groups(done.stdout) == (CoreGroup((0, 1), 1_800_000, 300), CoreGroup((2, 3), 2_400_000, 1024))


def test_the_command_in_a_real_shell_where_nothing_can_be_read(tmp_path):
    (tmp_path / "cpu/cpu0").mkdir(parents=True)
    command = CORES_COMMAND.replace("/sys/devices/system/cpu", str(tmp_path / "cpu"))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    assert core_groups(done.stdout) == (CoreGroup((0,)),)
