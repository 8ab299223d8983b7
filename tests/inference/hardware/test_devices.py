"""Finding devices without torch in this process, and without a child process where file names are enough."""

import sys
from types import SimpleNamespace

import pytest

from bot.errors import ConfigError
from inference.hardware import devices, probe
from inference.hardware.devices import (
    DeviceInfo,
    DevicesSettings,
    choose_devices,
    configured_devices,
    has_no_accelerator,
)


def devices_named(*names):
    return [DeviceInfo(name=name, kind=name.partition(":")[0]) for name in names]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("cuda:0", "cuda:1", "xpu:0", "cpu"), ["cuda:0", "cuda:1"]),
        (("mps", "cpu"), ["mps"]),
        (("xpu:0", "cpu"), ["xpu:0"]),
        (("rocm:0", "xpu:0", "cpu"), ["rocm:0"]),
        (("cpu",), ["cpu"]),
        ((), ["cpu"]),
    ],
)
def test_all_devices_of_the_best_kind_are_chosen(names, chosen):
    assert choose_devices(devices_named(*names)) == chosen


async def test_devices_named_in_the_settings_are_used_unchanged():
    assert await configured_devices(DevicesSettings(use=("cuda:0", "cpu"))) == ["cuda:0", "cpu"]
    assert await configured_devices(DevicesSettings(use="cpu")) == ["cpu"]


@pytest.mark.parametrize("use", ["gpu", "cuda:", "cuda:x", ("cpu", "tpu:0"), ()])
async def test_an_unknown_device_is_refused(use):
    with pytest.raises(ConfigError) as refused:
        await configured_devices(DevicesSettings(use=use))

    assert refused.value.problems[0].startswith("devices.use: ")


def test_a_graphics_card_is_found_by_its_device_node(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "version", lambda name: "2.13.0")
    monkeypatch.setattr(devices.platform, "system", lambda: "Linux")
    without = has_no_accelerator(tmp_path)
    (tmp_path / "nvidia0").touch()

    assert without
    assert not has_no_accelerator(tmp_path)


def test_a_cpu_build_of_torch_ignores_graphics_cards(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "version", lambda name: "2.13.0+cpu")
    (tmp_path / "nvidia0").touch()

    assert has_no_accelerator(tmp_path)


@pytest.mark.process
async def test_torch_is_asked_in_a_child_process():
    (*_, cpu) = await devices.probe_devices()

    assert (cpu.name, cpu.kind) == ("cpu", "cpu")
    assert cpu.memory_mb > 100


@pytest.mark.process
async def test_a_failing_probe_finds_only_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "clean_environment", lambda environ: {"PATH": "/nowhere", "PYTHONHOME": "/nowhere"})

    assert await devices.probe_devices() == [DeviceInfo(name="cpu", kind="cpu")]


# ---------------------------------------------------------------- other hardware, with a stub of torch


def torch_with(*, cuda=(), xpu=(), hip=None, mps_mb=0):
    """A stub of torch. Cards: (name, MiB, generation)."""

    def backend(cards):
        def properties(index):
            name, memory_mb, major = cards[index]
            return SimpleNamespace(name=name, total_memory=memory_mb * 2**20, major=major)

        return SimpleNamespace(
            is_available=lambda: bool(cards), device_count=lambda: len(cards), get_device_properties=properties
        )

    return SimpleNamespace(
        cuda=backend(cuda),
        xpu=backend(xpu),
        version=SimpleNamespace(hip=hip),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: bool(mps_mb))),
        mps=SimpleNamespace(recommended_max_memory=lambda: mps_mb * 2**20),
    )


@pytest.mark.parametrize(
    ("torch", "name", "kind", "memory_mb", "bfloat16"),
    [
        (torch_with(cuda=[("RTX 2060", 6144, 7)]), "cuda:0", "cuda", 6144, False),
        (torch_with(cuda=[("RTX 4070", 12282, 8)]), "cuda:0", "cuda", 12282, True),
        (torch_with(cuda=[("RX 7900", 24560, 11)], hip="6.4"), "cuda:0", "rocm", 24560, True),
        (torch_with(xpu=[("Arc B580", 12216, 0)]), "xpu:0", "xpu", 12216, True),
    ],
)
def test_each_kind_of_card_is_named_with_its_memory(monkeypatch, torch, name, kind, memory_mb, bfloat16):
    monkeypatch.setitem(sys.modules, "torch", torch)

    card = probe.list_devices()[0]

    assert (card["name"], card["kind"], card["memory_mb"], card["bfloat16"]) == (name, kind, memory_mb, bfloat16)
    assert choose_devices([DeviceInfo(**one) for one in probe.list_devices()]) == [name]


def test_the_memory_of_apples_gpu_is_its_recommended_maximum(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", torch_with(mps_mb=10_000))

    assert probe.list_devices()[0] == {"name": "mps", "kind": "mps", "title": "Apple GPU", "memory_mb": 10_000}
