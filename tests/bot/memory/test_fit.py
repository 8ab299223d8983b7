"""Which presets run on which machines."""

from dataclasses import replace

import pytest

from bot.memory.fit import MachineSpec, estimate_fit, model_requirements, recommend_presets
from bot.memory.residency import BFLOAT16_NOTE
from bot.models import IMAGE_TEXT_TO_IMAGE
from composition.settings import shipped_models

PRESETS = {name: spec for name, spec in shipped_models().items() if not spec.enabled}


def machine(vram_gb, ram_gb=32, *, disk_gb=1000, kind="cuda"):
    devices = (("cpu", "cpu", ram_gb * 1024),)
    devices += ((f"{kind}:0", kind, vram_gb * 1024),) if vram_gb else ()
    return MachineSpec(
        devices=devices, ram_mb=ram_gb * 1024, free_ram_mb=ram_gb * 900, disk_free_mb=disk_gb * 1024
    )  # fmt: skip


@pytest.mark.parametrize(
    ("vram_gb", "image", "vision"),
    [
        (0, "sd15-lcm", "blip2-flan-t5-xl"),
        (6, "sd15-lcm", "blip2-flan-t5-xl"),
        (8, "sdxl-lcm", "qwen3-vl-2b"),
        (12, "flux2-klein-4b", "qwen3-vl-4b"),
        (16, "z-image-turbo", "qwen3-vl-4b"),
        (24, "z-image-turbo", "qwen3-vl-4b"),
    ],
)
def test_the_advice_for_each_class_of_memory(vram_gb, image, vision):
    """For questions a model that chats, where a GPU has room for it."""
    advice = recommend_presets(PRESETS.values(), machine(vram_gb))

    assert advice == {"image": image, "vision": vision}
    assert PRESETS[image].commercial
    assert PRESETS[vision].commercial


@pytest.mark.parametrize(
    ("name", "vram_gb", "place"),
    [
        ("sd15-lcm", 6, "resident"),
        ("sdxl", 8, "offload"),
        ("sdxl", 12, "resident"),
        ("flux2-klein-4b", 2, "no"),
        ("flux2-klein-4b", 8, "offload"),
        ("flux2-klein-4b", 12, "offload"),
        ("flux2-klein-4b", 24, "resident"),
        ("z-image-turbo", 2, "no"),
        ("blip2-flan-t5-xl", 6, "cpu"),
        ("blip2-flan-t5-xl", 12, "resident"),
        ("sd-turbo", 0, "cpu"),
    ],
)
def test_places(name, vram_gb, place):
    assert estimate_fit(PRESETS[name], machine(vram_gb)).place == place


def test_what_is_short_is_named():
    klein = PRESETS["flux2-klein-4b"]

    assert estimate_fit(klein, machine(2)).missing == "2.9 GiB on the device, cuda:0 has 2.0 GiB"
    assert "this machine has 8.0 GiB" in estimate_fit(klein, machine(24, 8)).missing
    assert "this machine has 8.0 GiB" in estimate_fit(klein, machine(0, 8)).missing
    assert estimate_fit(klein, machine(24, disk_gb=1)).disk_mb > 10_000
    assert recommend_presets(PRESETS.values(), machine(24, disk_gb=1)) == {"image": None, "vision": None}


def test_the_cpu_is_slower_and_offloading_is_slower():
    turbo = PRESETS["sd-turbo"]
    assert estimate_fit(turbo, machine(0)).seconds > 5 * estimate_fit(turbo, machine(6)).seconds
    assert estimate_fit(PRESETS["sdxl"], machine(8)).seconds > estimate_fit(PRESETS["sdxl"], machine(12)).seconds


def test_a_model_that_only_edits_takes_all_its_steps():
    editor = PRESETS["qwen-image-edit-2511"]

    assert editor.tasks == (IMAGE_TEXT_TO_IMAGE,)
    assert estimate_fit(editor, machine(80, 96)).seconds == editor.overhead_s + editor.steps * editor.step_s


def test_memory_that_is_shared_is_the_machines():
    assert estimate_fit(PRESETS["sdxl"], machine(32, 32, kind="mps")).place == "resident"
    assert estimate_fit(PRESETS["sdxl"], machine(8, 8, kind="mps")).place == "no"


def test_a_starter_fits_everywhere():
    assert estimate_fit(shipped_models()["starter-image"], machine(0, 4)).place == "cpu"


def test_a_model_whose_weights_would_crawl_is_no_advice():
    assert estimate_fit(PRESETS["flux2-klein-4b"], machine(5)).is_group_offloaded
    assert recommend_presets(PRESETS.values(), machine(5))["image"] != "flux2-klein-4b"


def test_the_drawbacks_of_a_placement_are_reported():
    assert estimate_fit(PRESETS["sdxl"], machine(12)).notes == ()
    assert len(estimate_fit(PRESETS["sdxl"], machine(8)).notes) == 2
    assert estimate_fit(PRESETS["sd-turbo"], machine(0)).notes == ()


def test_eight_bit_weights_save_memory_where_supported():
    turbo = PRESETS["z-image-turbo"]

    assert estimate_fit(turbo, replace(machine(12), can_quantize=True)).formats == {"8bit"}
    assert estimate_fit(turbo, machine(12)).formats == {"fp8"}
    assert recommend_presets([turbo], replace(machine(12), can_quantize=True))["image"] == "z-image-turbo"
    assert recommend_presets([turbo], machine(12))["image"] is None


@pytest.mark.parametrize("name", PRESETS)
def test_the_parts_of_a_preset_add_up_to_its_memory(name):
    spec = PRESETS[name]

    total = sum(spec.components_mb.values()) + spec.activation_mb + spec.vae_decode_mb
    assert total == pytest.approx(spec.memory_mb, rel=0.06)
    assert sum(spec.components_mb.values()) < spec.ram_mb


@pytest.mark.parametrize("name", ["sd15-lcm", "blip2-opt-2-7b"])
def test_on_a_cpu_a_model_that_its_trial_found_quicker_in_bfloat16_needs_half_the_memory_and_says_so(name):
    spec = PRESETS[name]
    quick = replace(spec, capabilities={"dtype": "bfloat16"})
    full, half = (model_requirements(one, has_accelerator=False).cpu_formats for one in (spec, quick))

    assert [number_format for number_format, _ in full] == ["float32", "bfloat16"]
    assert half == full[1:]
    assert estimate_fit(spec, machine(0, 64)).notes == ()
    assert estimate_fit(quick, machine(0, 64)).notes == (BFLOAT16_NOTE,)


def test_a_gpus_format_says_nothing_about_the_cpu():
    spec = PRESETS["blip2-opt-2-7b"]
    quick = replace(spec, capabilities={"dtype": "bfloat16"})

    assert model_requirements(quick, has_accelerator=True) == model_requirements(spec, has_accelerator=True)


@pytest.mark.parametrize(("ram_gb", "place"), [(12, "no"), (24, "cpu")])
def test_weights_that_get_fewer_bits_are_loaded_in_full_before(ram_gb, place):
    spec = replace(PRESETS["blip2-flan-t5-xl"], quantize="8bit")

    assert estimate_fit(spec, machine(0, ram_gb)).place == place


@pytest.mark.parametrize(("dtype", "notes"), [("auto", ()), ("bfloat16", (BFLOAT16_NOTE,))])
def test_the_format_of_a_model_whose_parts_are_unknown_is_not_guessed(dtype, notes):
    starter = shipped_models()["starter-image"]

    assert estimate_fit(replace(starter, dtype=dtype), machine(0)).notes == notes
