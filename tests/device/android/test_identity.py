from dataclasses import dataclass, replace

import pytest

from leti_opt.device.android.identity import gles_line, phone_epoch, phone_facts, phone_identity, read_facts
from leti_opt.errors import PhoneError, PhoneGoneError
from tests.device.android.written_phones import NAMES, WrittenPhone, properties_of, read_phone

RUNTIME = "benchmark_model " + "5d" * 32


@dataclass(frozen=True)
class Options:
    """As benchmark_model's RunOptions."""

    unit: str = "cpu"
    threads: int = 1
    backend: str = ""
    precision_loss: bool = False
    accelerator: str = ""


def facts_of(name):
    return phone_facts(properties_of(name), read_phone(name)["surfaceflinger"], "5.10")


def identity(facts=None, options=None, affinity="f0", layout=""):
    return phone_identity(facts or facts_of("android14_tensor"), RUNTIME, options or Options(), affinity, layout)


def no_sleep(seconds):
    raise AssertionError(f"slept {seconds} s")


def test_facts_of_a_phone():
    facts = read_facts(WrittenPhone("android14_tensor"), no_sleep)
    assert (facts.manufacturer, facts.model, facts.soc) == ("Google", "Pixel 7", "Tensor G2")
    assert (facts.android_version, facts.sdk) == ("14", 34)
    assert (facts.abi, facts.abis) == ("arm64-v8a", ("arm64-v8a", "armeabi-v7a", "armeabi"))
    assert facts.build_fingerprint == "google/panther/panther:14/UP1A.000000.001/1000001:user/release-keys"
    assert facts.serial == "WRITTEN0BY0US1"
    assert facts.gles == "ARM, Mali-G710, OpenGL ES 3.2 v1.r38p1-01eac0.c1a71ccca2acf211eb87c5db5322f569"
    assert facts.kernel == "5.10.157-android13"
    assert facts.hardware == "Google Pixel 7 (Tensor G2)"
    assert not facts.loopback


@pytest.mark.parametrize(
    ("name", "hardware"),
    [
        ("android13_vendor_lines", "samsung SM-S000B (SM8450)"),
        ("android8_no_thermal", "ACME P60 (mt6771)"),
        ("android12_denied", "Acme Closed (t000)"),
        ("android15_vulkan", "Acme Vk (zuma)"),
    ],
)
def test_hardware_names_maker_model_and_chip_once(name, hardware):
    assert facts_of(name).hardware == hardware


def test_an_old_phone_is_told_by_its_single_abi_and_display_id():
    facts = facts_of("android8_no_thermal")
    assert facts.abis == ("armeabi-v7a",)
    assert facts.build_fingerprint == "BUILD 8.1.0 0001"


@pytest.mark.parametrize("name", ["android12_denied", "android15_vulkan", "starting"])
def test_a_phone_that_does_not_name_its_gpu_driver_has_none(name):
    assert facts_of(name).gles == ""


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_of_a_terminal_change_nothing(name):
    text = read_phone(name)["surfaceflinger"]
    assert gles_line(text.replace("\n", "\r\n")) == gles_line(text)


def test_a_gles_line_that_is_empty_or_in_the_middle_of_another_is_none():
    assert gles_line("GLES: \nRE GLES: not this\nHas GLES: no\n") == ""


def test_services_that_are_not_up_yet_are_waited_for():
    phone = WrittenPhone(
        "android14_tensor",
        replies=[
            ("dumpsys", "Can't find service: SurfaceFlinger\n"),
            ("dumpsys", "*** SERVICE 'SurfaceFlinger' DUMP TIMEOUT (10000ms) EXPIRED ***\n"),
        ],
    )
    slept = []
    assert read_facts(phone, slept.append).gles.startswith("ARM, Mali-G710")
    assert len(slept) == 2
    assert not phone.replies


def test_a_phone_that_never_finishes_starting_is_gone_and_not_without_a_driver():
    slept = []
    with pytest.raises(PhoneGoneError, match=r"127.0.0.1:5555: reading what it is: .*Can't find service.*try again"):
        read_facts(WrittenPhone("starting"), slept.append)
    assert sum(slept) < 120


@pytest.mark.parametrize("name", ["ro.product.model", "ro.product.cpu.abi", "ro.build.fingerprint", "ro.serialno"])
def test_a_phone_that_hides_what_it_is_is_refused(name):
    properties = {**properties_of("android14_tensor"), name: ""}
    phone = WrittenPhone("android14_tensor", properties=properties)
    if name == "ro.product.cpu.abi":
        phone.properties = {**properties, "ro.product.cpu.abilist": ""}
    with pytest.raises(PhoneError, match=f"does not reveal {name}.*adb -s 127.0.0.1:5555 shell getprop {name}"):
        read_facts(phone, no_sleep)


def test_a_kernel_that_is_not_told_is_empty():
    assert read_facts(WrittenPhone("android14_tensor", kernel=""), no_sleep).kernel == ""


def test_identity_of_each_unit_lists_the_options_that_matter():
    cpu = identity()
    assert (cpu.kind, cpu.runner, cpu.delegate, cpu.runtime) == ("android", "shell", "cpu", RUNTIME)
    assert dict(cpu.options) == {"threads": "1", "affinity": "f0"}
    gpu = identity(options=Options("gpu", backend="cl", precision_loss=True), affinity="")
    assert gpu.delegate == "gpu"
    assert dict(gpu.options) == {"threads": "1", "affinity": "all", "backend": "cl", "precision_loss": "yes"}
    npu = identity(options=Options("npu", accelerator="qti-dsp"), layout="file")
    assert npu.delegate == "nnapi"
    assert dict(npu.options) == {
        "threads": "1",
        "affinity": "f0",
        "precision_loss": "no",
        "accelerator": "qti-dsp",
        "layout": "file",
    }


def test_identity_differs_where_a_latency_may():
    others = [
        identity(options=Options(threads=2)),
        identity(affinity="0f"),
        identity(layout="resident"),
        identity(options=Options("gpu", backend="cl")),
        identity(options=Options("gpu", backend="gl")),
        identity(options=Options("gpu", backend="gl", precision_loss=True)),
        identity(options=Options("npu")),
        identity(options=Options("npu", accelerator="qti-dsp")),
        identity(facts_of("android13_vendor_lines")),
    ]
    assert len({one.digest for one in [identity(), *others]}) == 10


def test_an_update_a_driver_or_another_unit_start_an_epoch_of_the_same_identity():
    facts = facts_of("android14_tensor")
    changed = [
        replace(facts, build_fingerprint="google/panther/panther:15/X"),
        replace(facts, gles="ARM, Mali-G710, OpenGL ES 3.2 v1.r44"),
        replace(facts, serial="ANOTHER"),
    ]
    assert {identity(one).digest for one in changed} == {identity(facts).digest}
    assert len({phone_epoch(one).digest for one in [facts, *changed]}) == 4
    assert phone_epoch(replace(facts, kernel="6.1")) == phone_epoch(facts)


def test_the_serial_is_in_neither_identity_nor_epoch():
    facts = facts_of("android14_tensor")
    assert facts.serial not in str(identity(facts))
    assert facts.serial not in str(phone_epoch(facts))
    assert len(phone_epoch(facts).unit) == 16


@pytest.mark.parametrize(
    "properties", [{"ro.leti_opt.loopback": "1"}, {"ro.product.model": "Loopback 7"}, {"ro.hardware": "loopback"}]
)
def test_a_loopback_phone_says_so_first(properties):
    facts = phone_facts({**properties_of("android14_tensor"), **properties})
    assert identity(facts).hardware.startswith("loopback phone Google ")
    assert identity(facts).name.startswith("loopback phone ")
