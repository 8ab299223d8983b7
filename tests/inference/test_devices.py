"""Finding the hardware, without torch in this process and without waiting where a look is enough."""

import pytest

from bot.errors import ConfigError
from inference import devices
from inference.devices import DevicesSettings, Hardware, choose, configured_devices, is_surely_without_accelerator


def found(*names):
    return [Hardware(name=name, kind=name.partition(":")[0]) for name in names]


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("cuda:0", "cuda:1", "xpu:0", "cpu"), ["cuda:0", "cuda:1"]),
        (("mps", "cpu"), ["mps"]),
        (("xpu:0", "cpu"), ["xpu:0"]),
        (("cpu",), ["cpu"]),
        ((), ["cpu"]),
    ],
)
def test_all_devices_of_the_best_kind_are_chosen(there, chosen):
    assert choose(found(*there)) == chosen


async def test_devices_named_in_the_settings_are_used_as_they_are():
    assert await configured_devices(DevicesSettings(use=("cuda:0", "cpu"))) == ["cuda:0", "cpu"]
    assert await configured_devices(DevicesSettings(use="cpu")) == ["cpu"]


@pytest.mark.parametrize("use", ["gpu", "cuda:", "cuda:x", ("cpu", "tpu:0"), ()])
async def test_a_name_that_is_no_device_is_refused(use):
    with pytest.raises(ConfigError) as refused:
        await configured_devices(DevicesSettings(use=use))

    assert refused.value.problems[0].startswith("devices.use: ")


def test_a_graphics_card_shows_by_its_device_node(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "version", lambda name: "2.13.0")
    monkeypatch.setattr(devices.platform, "system", lambda: "Linux")
    without = is_surely_without_accelerator(tmp_path)
    (tmp_path / "nvidia0").touch()

    assert without
    assert not is_surely_without_accelerator(tmp_path)


def test_a_torch_built_for_the_cpu_has_no_use_for_a_graphics_card(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "version", lambda name: "2.13.0+cpu")
    (tmp_path / "nvidia0").touch()

    assert is_surely_without_accelerator(tmp_path)


async def test_torch_is_asked_in_a_child_process():
    (*_, cpu) = await devices.probe()

    assert (cpu.name, cpu.kind) == ("cpu", "cpu")
    assert cpu.memory_mb > 100


async def test_a_probe_that_fails_finds_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "clean_environment", lambda environ: {"PATH": "/nowhere", "PYTHONHOME": "/nowhere"})

    assert await devices.probe() == [Hardware(name="cpu", kind="cpu")]
