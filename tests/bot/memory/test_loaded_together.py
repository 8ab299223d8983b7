"""Which models stay loaded together, in sentences with numbers."""

from dataclasses import replace

import pytest

from bot.memory.fit import MachineSpec
from bot.memory.loaded_together import describe_loaded_together, find_loaded_together, order_models
from composition.settings import shipped_models


def machine(gib, kind="cuda", most=4):
    devices = (("cpu", "cpu", 0),) if kind == "cpu" else ((f"{kind}:0", kind, gib * 1024),)
    ram_mb = gib * 1024 if kind == "cpu" else 65536
    return MachineSpec(
        devices=devices, ram_mb=ram_mb, free_ram_mb=ram_mb, disk_free_mb=10**6, can_quantize=True, can_use_4bit=True,
        max_loaded_models=most,
    )  # fmt: skip


def describe(names, spec):
    presets = shipped_models()
    found = find_loaded_together([presets[name] for name in names], spec)
    return describe_loaded_together(found) if found is not None else []


@pytest.mark.parametrize(
    ("names", "spec", "lines"),
    [
        (["sdxl"], machine(24), 0),
        (["sdxl", "blip2-opt-2-7b"], machine(24), 1),
        (["sdxl", "blip2-opt-2-7b"], machine(48, most=1), 2),
        (["sdxl", "sd15-lcm"], machine(64, "cpu"), 1),
    ],
)
def test_models_that_fit_share_a_device_within_the_limit(names, spec, lines):
    found = describe(names, spec)

    assert len(found) == lines
    assert all("GiB" in line for line in found[:1])


def test_each_model_has_its_format_its_place_and_its_size():
    assert describe(["flux2-klein-4b", "z-image-turbo", "sdxl"], machine(8)) == [
        "These models stay loaded together on cuda:0: flux2-klein-4b (8bit, partly streamed, 6.6 GiB); z-image-turbo "
        "(partly streamed, 2.9 GiB). That takes up to 7.4 GiB of 8.0 GiB.",
        "Loaded on request, in place of another: sdxl.",
    ]
    assert describe(["sdxl", "sd15-lcm"], machine(16, "cpu")) == [
        "These models stay loaded together on cpu: sdxl (bfloat16, 9.3 GiB); sd15-lcm (bfloat16, 3.9 GiB). That takes "
        "up to 13.2 GiB of 16.0 GiB."
    ]


def test_a_model_without_room_beside_others_is_loaded_on_request():
    assert describe(["sdxl", "blip2-opt-2-7b"], machine(12)) == [
        "This model stays loaded on cuda:0: sdxl (9.8 GiB). That takes up to 9.8 GiB of 12.0 GiB.",
        "Loaded on request, in place of another: blip2-opt-2-7b.",
    ]


def test_models_that_do_not_fit_at_all_are_left_out():
    assert describe(["flux2-klein-4b", "sdxl"], machine(2, "cpu")) == []


def test_the_chosen_model_comes_first_then_defaults_then_demos():
    presets = shipped_models()
    demo, real = replace(presets["sdxl"], name="demo", demo=True), replace(presets["sdxl"], name="real")
    default = replace(demo, name="default", default_for=("text-to-image",))

    assert [one.name for one in order_models([demo, real, default], presets["sd15-lcm"])] == [
        "sd15-lcm", "default", "real", "demo",
    ]  # fmt: skip
