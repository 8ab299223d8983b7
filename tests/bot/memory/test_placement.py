"""Where parts of models live: the presets' pairs in the usual amounts of memory, and what holds for any model."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.memory.components import Part, Role, role_of
from bot.memory.fit import wanted_of
from bot.memory.placement import OWN_MEMORY, SPARE_MB, Place, Room, Wanted, fit_together, plan, plans, seat
from composition.settings import shipped_models

GB = 1024
PRESETS = {name: spec for name, spec in shipped_models().items() if not spec.enabled}
IMAGE = [name for name, spec in PRESETS.items() if "text-to-image" in spec.tasks]
VISION = [name for name, spec in PRESETS.items() if "image-to-text" in spec.tasks]
BUDGETS = (6, 8, 12, 16, 24)


def wanted(name):
    return wanted_of(PRESETS[name], has_accelerator=True)


def card(gb, *, can_quantize=False, kind="cuda", ram_gb=64):
    return Room(kind=kind, device_mb=int(gb * GB), ram_mb=ram_gb * GB, can_quantize=can_quantize)


def places(plan):
    return {name: seat.place for name, seat in plan.seats.items()}


# ---------------------------------------------------------------- the presets


@pytest.mark.parametrize("can_quantize", [False, True])
@pytest.mark.parametrize(("image", "vision", "gb"), list(product(IMAGE, VISION, BUDGETS)))
def test_every_pair_of_presets_is_had_on_every_card(image, vision, gb, can_quantize):
    room = card(gb, can_quantize=can_quantize)

    seating = seat([wanted(image), wanted(vision)], room)

    assert fit_together(seating.plans, room)
    assert {one.model for one in seating.plans} | set(seating.out) == {image, vision}
    assert all(plan(wanted(name), room) for name in (image, vision))


@pytest.mark.parametrize(("image", "vision"), list(product(IMAGE, VISION)))
def test_a_pair_that_fits_whole_is_never_moved(image, vision):
    pair = [wanted(image), wanted(vision)]
    whole_mb = sum(one.size_mb for one in pair) + max(one.work_mb for one in pair) + max(one.decode_mb for one in pair)

    room = card((whole_mb + SPARE_MB) / GB, can_quantize=True)
    seating = seat(pair, room)

    assert seating.out == ()
    assert all(one.is_whole and not one.is_tiled and not one.words for one in seating.plans)
    assert not any(seat.is_small for one in seating.plans for seat in one.seats.values())


@pytest.mark.parametrize(
    ("image", "gb", "can_quantize", "encoder", "denoiser", "is_small", "is_tiled"),
    [
        ("sd15-lcm", 6, False, Place.RESIDENT, Place.RESIDENT, False, False),
        ("sdxl-turbo", 8, False, Place.RESIDENT, Place.RESIDENT, False, True),
        ("sdxl", 6, False, Place.STREAMED, Place.STREAMED, False, True),
        ("sdxl", 8, False, Place.STREAMED, Place.RESIDENT, False, True),
        ("sdxl", 12, False, Place.RESIDENT, Place.RESIDENT, False, False),
        ("flux2-klein-4b", 8, False, Place.STREAMED, Place.STREAMED, False, True),
        ("flux2-klein-4b", 8, True, Place.STREAMED, Place.RESIDENT, True, True),
        ("flux2-klein-4b", 12, False, Place.STREAMED, Place.RESIDENT, False, False),
        ("flux2-klein-4b", 24, False, Place.RESIDENT, Place.RESIDENT, False, False),
        ("z-image-turbo", 12, True, Place.STREAMED, Place.RESIDENT, True, False),
        ("z-image-turbo", 16, False, Place.STREAMED, Place.RESIDENT, False, False),
        ("z-image-turbo", 24, False, Place.RESIDENT, Place.RESIDENT, False, False),
    ],
)
def test_a_picture_model_alone(image, gb, can_quantize, encoder, denoiser, is_small, is_tiled):
    model = wanted(image)
    (core,) = [part.name for part in model.parts if part.role is Role.DENOISER]

    found = plan(model, card(gb, can_quantize=can_quantize))

    assert found.seats["text_encoder"].place is encoder
    assert found.seats[core].place is denoiser
    assert found.seats[core].is_small is is_small
    assert found.is_tiled is is_tiled


@pytest.mark.parametrize(
    ("gb", "can_quantize", "place", "is_small"),
    [(6, False, Place.CPU, False), (8, True, Place.RESIDENT, True), (12, False, Place.RESIDENT, False)],
)
def test_a_vision_model_alone(gb, can_quantize, place, is_small):
    seat = plan(wanted("blip2-flan-t5-xl"), card(gb, can_quantize=can_quantize)).seats["language_model"]

    assert seat.place is place
    assert seat.is_small is is_small


def test_two_models_are_rather_made_a_little_slower_than_loaded_again():
    seating = seat([wanted("sdxl"), wanted("blip2-flan-t5-xl")], card(16))

    assert seating.out == ()
    assert [one.words for one in seating.plans] != [(), ()]


@pytest.mark.parametrize("first", ["sdxl", "blip2-flan-t5-xl"])
def test_what_was_used_least_recently_goes_first(first):
    (other,) = {"sdxl", "blip2-flan-t5-xl"} - {first}

    assert seat([wanted(first), wanted(other)], card(12)).out == (other,)


def test_each_plan_says_what_it_costs():
    assert plan(wanted("sdxl"), card(24)).words == ()
    assert "CPU" in " ".join(plan(wanted("blip2-flan-t5-xl"), card(6)).words)
    assert "8 bits" in " ".join(plan(wanted("flux2-klein-4b"), card(8, can_quantize=True)).words)
    assert "every step" in " ".join(plan(wanted("flux2-klein-4b"), card(8)).words)
    assert "new prompt" in " ".join(plan(wanted("flux2-klein-4b"), card(12)).words)


# ---------------------------------------------------------------- what the owner says


def test_no_weights_are_shrunk_where_the_owner_says_so():
    model = wanted("flux2-klein-4b")
    never = Wanted(name=model.name, parts=model.parts, quantize="none")

    assert not any(s.is_small for one in plans(never, card(8, can_quantize=True)) for s in one.seats.values())


def test_all_weights_that_can_be_are_shrunk_where_the_owner_says_so():
    model = wanted("flux2-klein-4b")
    always = Wanted(name=model.name, parts=model.parts, quantize="8bit")

    found = plan(always, card(48, can_quantize=True))

    assert {name for name, s in found.seats.items() if s.is_small} == {"transformer", "text_encoder"}
    assert found.cost == 0


# ---------------------------------------------------------------- other devices


def test_on_the_cpu_the_better_format_is_taken_that_main_memory_holds():
    model = wanted_of(PRESETS["blip2-flan-t5-xl"], has_accelerator=False)

    assert plan(model, Room(kind="cpu", ram_mb=32 * GB)).format == "float32"
    assert plan(model, Room(kind="cpu", ram_mb=14 * GB)).format == "bfloat16"
    assert plan(model, Room(kind="cpu", ram_mb=8 * GB)) is None


def test_where_memory_is_shared_nothing_is_moved():
    model = wanted("sdxl")

    assert all(one.is_whole for one in plans(model, card(8, kind="mps")))
    assert plan(model, card(8, kind="mps")) is None


def test_too_little_main_memory_to_load_it_is_no_plan():
    assert plan(wanted("flux2-klein-4b"), card(24, ram_gb=12)) is None


def test_unknown_memory_is_taken_for_enough():
    assert plan(wanted("flux2-klein-4b"), Room(kind="cuda")).is_whole


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("unet", Role.DENOISER),
        ("transformer", Role.DENOISER),
        ("text_encoder_2", Role.TEXT_ENCODER),
        ("vae", Role.VAE),
        ("vision_model", Role.VISION),
        ("language_model", Role.LANGUAGE_MODEL),
        ("safety_checker", Role.OTHER),
    ],
)
def test_roles_go_by_the_libraries_names(name, role):
    assert role_of(name) is role


# ---------------------------------------------------------------- what holds for any model

SIZES = st.integers(0, 12_000)


@st.composite
def models(draw, name="model"):
    names = draw(st.sampled_from([("unet", "text_encoder", "vae"), ("vision_model", "language_model"), ("unet",)]))
    parts = []
    for one in names:
        size = draw(SIZES)
        parts.append(Part(name=one, role=role_of(one), size_mb=size, small_mb=draw(st.sampled_from([0, size // 2]))))
    total = sum(part.size_mb for part in parts)
    return Wanted(
        name=name,
        parts=tuple(parts),
        work_mb=draw(st.integers(0, 2000)),
        decode_mb=draw(st.integers(0, 3000)),
        quantize=draw(st.sampled_from(["auto", "none", "8bit"])),
        cpu=draw(st.sampled_from([(), (("float32", 2 * total), ("bfloat16", total))])),
    )


ROOMS = st.builds(
    Room,
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
def test_what_is_kept_together_never_takes_more_than_there_is(pair, room):
    seating = seat(pair, room)

    assert fit_together(seating.plans, room)
    for one in seating.plans:
        assert one.ram_mb <= room.ram_mb
        assert not one.peak_mb or one.peak_mb + SPARE_MB <= room.device_mb


@given(models(), ROOMS, st.integers(0, 20_000), st.integers(0, 20_000))
@settings(max_examples=150, deadline=None)
def test_more_memory_never_makes_a_plan_worse(model, room, more_mb, more_ram_mb):
    larger = Room(
        kind=room.kind,
        device_mb=room.device_mb + more_mb,
        ram_mb=room.ram_mb + more_ram_mb,
        can_quantize=room.can_quantize,
    )

    before, after = plan(model, room), plan(model, larger)

    assert before is None or after.cost <= before.cost


@given(models(), ROOMS)
@settings(max_examples=150, deadline=None)
def test_what_fits_whole_is_left_whole(model, room):
    found = plan(model, room)

    whole_mb = model.size_mb + model.work_mb + model.decode_mb
    has_room = room.has(whole_mb, model.size_mb) and room.kind in OWN_MEMORY
    if has_room and not (model.quantize == "8bit" and room.can_quantize):
        assert found.is_whole
        assert found.cost == 0
        assert not found.is_tiled


@given(pairs(), ROOMS)
@settings(max_examples=100, deadline=None)
def test_a_model_that_can_be_had_is_seated_or_loaded_when_asked_for(pair, room):
    seating = seat(pair, room)

    assert {one.model for one in seating.plans} | set(seating.out) == {"one", "two"}
    assert not {one.model for one in seating.plans} & set(seating.out)
