"""What other formats would make of presets on cards of several sizes."""

import pytest

from bot.memory.fit import MachineSpec
from bot.memory.format_advice import advise_formats, format_memory
from composition.settings import shipped_models

PRESETS = shipped_models()


def machine(vram_gib, *, has_libraries=False):
    devices = (("cuda:0", "cuda", vram_gib * 1024),) if vram_gib else (("cpu", "cpu", 0),)
    return MachineSpec(
        devices=devices, ram_mb=64_000, free_ram_mb=64_000, disk_free_mb=10**6, can_quantize=has_libraries,
        can_use_4bit=has_libraries,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "gib", "has_libraries", "lines"),
    [
        ("sdxl", 24, False, ["Memory: 9.8 GiB of 24.0 GiB."]),
        (
            "flux2-klein-4b", 8, False,
            [
                "Memory: fp8, 7.1 GiB of 8.0 GiB.",
                "With the extra `quant`, flux2-klein-4b would run in 8bit, 6.6 GiB of 8.0 GiB.",
            ],
        ),
        (
            "z-image-turbo", 8, True,
            [
                "Memory: 2.9 GiB of 8.0 GiB.",
                "As a .gguf file in Q4_K, z-image-turbo would need 6.8 GiB of 8.0 GiB.",
            ],
        ),
        ("blip2-flan-t5-xl", 8, True, ["Memory: 8bit, 6.0 GiB of 8.0 GiB."]),
        ("sdxl", 0, False, []),
    ],
)  # fmt: skip
def test_advice_has_numbers(name, gib, has_libraries, lines):
    assert format_memory(PRESETS[name], machine(gib, has_libraries=has_libraries)) == lines


def test_there_is_no_advice_where_the_owner_has_chosen():
    from dataclasses import replace

    assert list(advise_formats(replace(PRESETS["flux2-klein-4b"], quantize="none"), machine(8))) == []
