"""Placement plans: pairs of presets in common amounts of memory, and properties of any model."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.memory.combined_plans import plan_together
from bot.memory.components import Component, ComponentRole, component_role
from bot.memory.fit import model_requirements
from bot.memory.placement import (
    DISCRETE_MEMORY_KINDS,
    SPARE_MB,
    MemoryBudget,
    ModelRequirements,
    Residency,
    all_plans,
    best_plan,
    fit_together,
)
from composition.settings import shipped_models

GB = 1024
PRESETS = {name: spec for name, spec in shipped_models().items() if not spec.enabled}
IMAGE = [name for name, spec in PRESETS.items() if "text-to-image" in spec.tasks]
VISION = [name for name, spec in PRESETS.items() if "image-to-text" in spec.tasks]
BUDGETS = (6, 8, 12, 16, 24)
LEAST_GB = {"flux2-klein-9b-kv": 8, "qwen-image-2-1": 8}
"""Cards on which presets run, if not on all: these hold the keys and values of references."""


def wanted(name):
    return model_requirements(PRESETS[name], has_accelerator=True)


def card(gb, *, can_quantize=False, kind="cuda", ram_gb=64):
    return MemoryBudget(kind=kind, device_mb=int(gb * GB), ram_mb=ram_gb * GB, can_quantize=can_quantize)


def places(plan):
    return {name: one.residency for name, one in plan.placements.items()}


# ---------------------------------------------------------------- the presets


@pytest.mark.parametrize("can_quantize", [False, True])
@pytest.mark.parametrize(
    ("image", "vision", "gb"),
    [one for one in product(IMAGE, VISION, BUDGETS) if one[2] >= LEAST_GB.get(one[0], 0)],
)
def test_every_pair_of_presets_runs_on_every_card(image, vision, gb, can_quantize):
    room = card(gb, can_quantize=can_quantize)

    seating = plan_together([wanted(image), wanted(vision)], room)

    assert fit_together(seating.plans, room)
    assert {one.model for one in seating.plans} | set(seating.unloaded) == {image, vision}
    assert all(best_plan(wanted(name), room) for name in (image, vision))


@pytest.mark.parametrize(("image", "vision"), list(product(IMAGE, VISION)))
def test_a_pair_that_fits_whole_is_never_moved(image, vision):
    pair = [wanted(image), wanted(vision)]
    whole_mb = (
        sum(one.size_mb for one in pair)
        + max(one.activation_mb for one in pair)
        + max(one.vae_decode_mb for one in pair)
    )

    room = card((whole_mb + SPARE_MB) / GB, can_quantize=True)
    seating = plan_together(pair, room)

    assert seating.unloaded == ()
    assert all(one.is_fully_resident and not one.is_tiled and not one.notes for one in seating.plans)
    assert not any(seat.is_quantized for one in seating.plans for seat in one.placements.values())


@pytest.mark.parametrize(
    ("image", "gb", "can_quantize", "encoder", "denoiser", "is_small", "is_tiled"),
    [
        ("sd15-lcm", 6, False, Residency.RESIDENT, Residency.RESIDENT, False, False),
        ("sdxl-turbo", 8, False, Residency.RESIDENT, Residency.RESIDENT, False, True),
        ("sdxl", 5, False, Residency.STREAMED, Residency.STREAMED, False, True),
        ("sdxl", 8, False, Residency.STREAMED, Residency.RESIDENT, False, True),
        ("sdxl", 12, False, Residency.RESIDENT, Residency.RESIDENT, False, False),
        ("flux2-klein-4b", 8, False, Residency.STREAMED, Residency.RESIDENT, True, False),
        ("flux2-klein-4b", 5, False, Residency.STREAMED, Residency.STREAMED, False, True),
        ("flux2-klein-4b", 8, True, Residency.STREAMED, Residency.RESIDENT, True, True),
        ("flux2-klein-4b", 12, False, Residency.STREAMED, Residency.RESIDENT, False, False),
        ("flux2-klein-4b", 24, False, Residency.RESIDENT, Residency.RESIDENT, False, False),
        ("z-image-turbo", 12, True, Residency.STREAMED, Residency.RESIDENT, True, False),
        ("z-image-turbo", 16, False, Residency.STREAMED, Residency.RESIDENT, False, False),
        ("z-image-turbo", 24, False, Residency.RESIDENT, Residency.RESIDENT, False, False),
    ],
)
def test_a_picture_model_alone(image, gb, can_quantize, encoder, denoiser, is_small, is_tiled):
    model = wanted(image)
    (core,) = [part.name for part in model.components if part.role is ComponentRole.DENOISER]

    found = best_plan(model, card(gb, can_quantize=can_quantize))

    assert found.placements["text_encoder"].residency is encoder
    assert found.placements[core].residency is denoiser
    assert found.placements[core].is_quantized is is_small
    assert found.is_tiled is is_tiled


@pytest.mark.parametrize(
    ("gb", "can_quantize", "place", "is_small"),
    [(6, False, Residency.CPU, False), (8, True, Residency.RESIDENT, True), (12, False, Residency.RESIDENT, False)],
)
def test_a_vision_model_alone(gb, can_quantize, place, is_small):
    seat = best_plan(wanted("blip2-flan-t5-xl"), card(gb, can_quantize=can_quantize)).placements["language_model"]

    assert seat.residency is place
    assert seat.is_quantized is is_small


def test_two_models_are_rather_made_a_little_slower_than_loaded_again():
    seating = plan_together([wanted("sdxl"), wanted("blip2-flan-t5-xl")], card(16))

    assert seating.unloaded == ()
    assert [one.notes for one in seating.plans] != [(), ()]


@pytest.mark.parametrize("first", ["sdxl", "blip2-flan-t5-xl"])
def test_what_was_used_least_recently_goes_first(first):
    (other,) = {"sdxl", "blip2-flan-t5-xl"} - {first}

    assert plan_together([wanted(first), wanted(other)], card(12)).unloaded == (other,)


def test_each_plan_says_what_it_costs():
    assert best_plan(wanted("sdxl"), card(24)).notes == ()
    assert "CPU" in " ".join(best_plan(wanted("blip2-flan-t5-xl"), card(6)).notes)
    assert "8 bits" in " ".join(best_plan(wanted("flux2-klein-4b"), card(8, can_quantize=True)).notes)
    assert "8-bit floats" in " ".join(best_plan(wanted("flux2-klein-4b"), card(8)).notes)
    assert "every step" in " ".join(best_plan(wanted("flux2-klein-4b"), card(5)).notes)
    assert "new prompt" in " ".join(best_plan(wanted("flux2-klein-4b"), card(12)).notes)


# ---------------------------------------------------------------- what the owner says


def test_no_weights_are_shrunk_where_the_owner_says_so():
    model = wanted("flux2-klein-4b")
    never = ModelRequirements(name=model.name, components=model.components, quantize="none")

    assert not any(
        s.is_quantized for one in all_plans(never, card(8, can_quantize=True)) for s in one.placements.values()
    )


def test_all_weights_that_can_be_are_shrunk_where_the_owner_says_so():
    model = wanted("flux2-klein-4b")
    always = ModelRequirements(name=model.name, components=model.components, quantize="8bit")

    found = best_plan(always, card(48, can_quantize=True))

    assert {name for name, s in found.placements.items() if s.is_quantized} == {"transformer", "text_encoder"}
    assert found.cost == 0


# ---------------------------------------------------------------- other devices


def test_on_the_cpu_the_best_format_that_fits_in_ram_is_used():
    model = model_requirements(PRESETS["blip2-flan-t5-xl"], has_accelerator=False)

    assert best_plan(model, MemoryBudget(kind="cpu", ram_mb=32 * GB)).format == "float32"
    assert best_plan(model, MemoryBudget(kind="cpu", ram_mb=14 * GB)).format == "bfloat16"
    assert best_plan(model, MemoryBudget(kind="cpu", ram_mb=8 * GB)) is None


def test_where_memory_is_shared_nothing_is_moved():
    model = wanted("sdxl")

    assert all(one.is_fully_resident for one in all_plans(model, card(8, kind="mps")))
    assert best_plan(model, card(8, kind="mps")) is None


def test_too_little_main_memory_to_load_it_is_no_plan():
    assert best_plan(wanted("flux2-klein-4b"), card(24, ram_gb=12)) is None


def test_unknown_memory_is_assumed_sufficient():
    assert best_plan(wanted("flux2-klein-4b"), MemoryBudget(kind="cuda")).is_fully_resident


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("unet", ComponentRole.DENOISER),
        ("transformer", ComponentRole.DENOISER),
        ("text_encoder_2", ComponentRole.TEXT_ENCODER),
        ("vae", ComponentRole.VAE),
        ("vision_model", ComponentRole.VISION),
        ("language_model", ComponentRole.LANGUAGE_MODEL),
        ("safety_checker", ComponentRole.OTHER),
    ],
)
def test_roles_go_by_the_libraries_names(name, role):
    assert component_role(name) is role


# ---------------------------------------------------------------- what holds for any model

SIZES = st.integers(0, 12_000)


@st.composite
def models(draw, name="model"):
    names = draw(st.sampled_from([("unet", "text_encoder", "vae"), ("vision_model", "language_model"), ("unet",)]))
    parts = []
    for one in names:
        size = draw(SIZES)
        parts.append(
            Component(
                name=one, role=component_role(one), size_mb=size, quantized_mb=draw(st.sampled_from([0, size // 2]))
            )
        )
    total = sum(part.size_mb for part in parts)
    return ModelRequirements(
        name=name,
        components=tuple(parts),
        activation_mb=draw(st.integers(0, 2000)),
        vae_decode_mb=draw(st.integers(0, 3000)),
        quantize=draw(st.sampled_from(["auto", "none", "8bit"])),
        cpu_formats=draw(st.sampled_from([(), (("float32", 2 * total), ("bfloat16", total))])),
    )


ROOMS = st.builds(
    MemoryBudget,
    kind=st.sampled_from(["cuda", "rocm", "xpu", "mps", "cpu"]),
    device_mb=st.integers(1, 40_000),
    ram_mb=st.integers(1, 80_000),
    can_quantize=st.booleans(),
)


@st.composite
def pairs(draw):
    return [draw(models(name="one")), draw(models(name="two"))]


@given(pairs(), ROOMS)
@settings(max_examples=150, deadline=None)
def test_models_loaded_together_never_exceed_the_memory(pair, room):
    seating = plan_together(pair, room)

    assert fit_together(seating.plans, room)
    for one in seating.plans:
        assert one.ram_mb <= room.ram_mb
        assert not one.peak_mb or one.peak_mb + SPARE_MB <= room.device_mb


@given(models(), ROOMS, st.integers(0, 20_000), st.integers(0, 20_000))
@settings(max_examples=150, deadline=None)
def test_more_memory_never_makes_a_plan_worse(model, room, more_mb, more_ram_mb):
    larger = MemoryBudget(
        kind=room.kind,
        device_mb=room.device_mb + more_mb,
        ram_mb=room.ram_mb + more_ram_mb,
        can_quantize=room.can_quantize,
    )

    before, after = best_plan(model, room), best_plan(model, larger)

    assert before is None or after.cost <= before.cost


@given(models(), ROOMS)
@settings(max_examples=150, deadline=None)
def test_what_fits_whole_is_left_whole(model, room):
    found = best_plan(model, room)

    whole_mb = model.size_mb + model.activation_mb + model.vae_decode_mb
    has_room = room.fits(whole_mb, model.size_mb) and room.kind in DISCRETE_MEMORY_KINDS
    if has_room and not (model.quantize == "8bit" and room.can_quantize):
        assert found.is_fully_resident
        assert found.cost == 0
        assert not found.is_tiled


@given(pairs(), ROOMS)
@settings(max_examples=100, deadline=None)
def test_a_model_that_fits_is_placed_or_loaded_on_request(pair, room):
    seating = plan_together(pair, room)

    assert {one.model for one in seating.plans} | set(seating.unloaded) == {"one", "two"}
    assert not {one.model for one in seating.plans} & set(seating.unloaded)
