"""Commands: reading, choosing a model, filling in what was left unsaid."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.commands import COMMANDS, Ask, Caption, Command, Describe, Edit, Imagine, Match, Upscale, find_command
from bot.commands.imagine import fit_aspect
from bot.errors import InvalidOption, UnknownCommand
from bot.jobs import ImageRef
from bot.models import (
    IMAGE_TEXT_TO_TEXT,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ModelRegistry,
)
from bot.options import MAX_SEED
from tests.fakes import make_model

FOX = {"prompt": "a fox"}
PHOTO = (ImageRef("0" * 64),)


def fill(options=(), *, images=(), aspect=None, **model):
    command = Imagine.from_options({**FOX, **dict(options)}, images)
    return command.fill_options(make_model(**model), 42, aspect)


def refusal(options=(), **more):
    with pytest.raises(InvalidOption) as refused:
        fill(options, **more)
    return refused.value


# ---------------------------------------------------------------- the registry


def test_commands_are_registered_by_their_names():
    assert [*COMMANDS.items()] == [(kind.__name__.lower(), kind) for kind in COMMANDS.values()]
    assert {Imagine, Caption, Ask, Describe, Match, Edit, Upscale} <= {*COMMANDS.values()}


@pytest.mark.parametrize("written", ["imagine", "/imagine", "IMAGINE", " imagine "])
def test_a_command_is_found_however_it_is_written(written):
    assert find_command(written) is Imagine


def test_an_unknown_command_is_refused_with_the_nearest():
    with pytest.raises(UnknownCommand) as refused:
        find_command("imagin")

    assert refused.value.nearest == "imagine"
    assert refused.value.known == tuple(COMMANDS)


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_every_command_names_each_option_once(kind: type[Command]):
    names = [name for spec in kind.specs for name in (spec.name, *spec.aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_every_default_is_one_that_its_option_takes(kind: type[Command]):
    for spec in kind.specs:
        if spec.default is not None:
            assert spec.parse(spec.default, spec.name) == spec.default


# ---------------------------------------------------------------- pictures and models


def test_a_picture_makes_imagine_a_task_from_a_picture():
    assert Imagine.from_options(FOX).task == TEXT_TO_IMAGE
    assert Imagine.from_options(FOX, PHOTO).task == IMAGE_TO_IMAGE


@pytest.mark.parametrize(
    ("kind", "options", "images", "problem"),
    [
        (Caption, {}, (), "needs_image"),
        (Ask, {"question": "who?"}, (), "needs_image"),
        (Caption, {}, PHOTO * 2, "too_many_images"),
        (Describe, {}, PHOTO * 2, "too_many_images"),
        (Edit, FOX, (), "needs_image"),
        (Upscale, {}, (), "needs_image"),
        (Imagine, FOX, PHOTO * 2, "too_many_images"),
        (Imagine, FOX, (ImageRef("0" * 64, "sheet"),), "choice"),
        (Imagine, FOX, (ImageRef("0" * 64, "mask"),), "needs_init"),
        (Imagine, FOX, (ImageRef("0" * 64, "mask"),) * 2, "too_many_images"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(kind, options, images, problem):
    with pytest.raises(InvalidOption) as refused:
        kind.from_options(options, images)

    assert refused.value.problem == problem


def test_a_chats_album_is_looked_at_at_once_and_paid_for_each():
    album = Ask.from_options({"question": "who?"}, PHOTO * 10, is_album=True)
    one = Ask.from_options({"question": "who?"}, PHOTO)
    filled = one.fill_options(make_model(), 1)

    assert album.work_units(filled)[0] == 10 * one.work_units(filled)[0]
    for kind, options, count in ((Ask, {"question": "who?"}, 11), (Describe, {}, 2), (Imagine, FOX, 2)):
        with pytest.raises(InvalidOption) as refused:
            kind.from_options(options, PHOTO * count, is_album=True)
        assert refused.value.problem == "too_many_images"


def test_prompt_syntax_is_kept_beside_flags():
    prompt, negative = r"a [cat:dog:0.5] (x:-1) [a|b|c] <lyco:ink:> \(y\) BREAK it AND [x::5]", "[red|blue], (x:-1)"

    read = Imagine.from_text(f"{prompt} --steps 4 --negative {negative}", [])

    assert read.values == {"prompt": prompt, "steps": 4, "negative_prompt": negative}


def test_text_beside_a_caption_request_is_refused():
    with pytest.raises(InvalidOption) as refused:
        Caption.from_text("what is this?", PHOTO)

    assert refused.value.problem == "no_text"


def test_a_caption_request_takes_flags():
    assert Caption.from_text("--num_beams 3", PHOTO).values == {"num_beams": 3}


def test_the_first_able_model_is_the_default():
    models = ModelRegistry(
        {name: make_model(name=name, tasks=tasks) for name, tasks in (("a", ()), ("b", (TEXT_TO_IMAGE,)))}
    )

    assert Imagine.from_options(FOX).choose_model(models).name == "b"


def test_an_unknown_model_is_refused_with_the_able_ones():
    models = ModelRegistry(
        {"painter": make_model(name="painter"), "reader": make_model(name="reader", tasks=(IMAGE_TO_TEXT,))}
    )

    with pytest.raises(InvalidOption) as refused:
        Imagine.from_options({**FOX, "model": "paintre"}).choose_model(models)

    assert (refused.value.problem, refused.value.allowed, refused.value.nearest) == ("choice", "painter", "painter")


def test_a_model_for_another_task_is_refused():
    models = ModelRegistry(
        {"painter": make_model(name="painter", tasks=(TEXT_TO_IMAGE,)), "all": make_model(name="all")}
    )

    with pytest.raises(InvalidOption) as refused:
        Caption.from_options({"model": "painter"}, PHOTO).choose_model(models)

    assert refused.value.allowed == "all"


@pytest.mark.parametrize("options", [{}, {"model": "painter"}])
def test_a_house_without_an_able_model_says_so(options):
    models = ModelRegistry({"painter": make_model(name="painter", tasks=(TEXT_TO_IMAGE,))})

    with pytest.raises(InvalidOption) as refused:
        Caption.from_options(options, PHOTO).choose_model(models)

    assert refused.value.problem == "no_model"


def test_history_finds_imagine_by_its_prompt_and_ask_by_its_question():
    assert Imagine.from_options(FOX).search_text == "a fox"
    assert Ask.from_options({"question": "who?"}, PHOTO).search_text == "who?"
    assert Caption.from_options({}, PHOTO).search_text == ""


# ---------------------------------------------------------------- imagine


def test_what_is_not_given_comes_from_the_model():
    filled = fill(steps=9, guidance_scale=3.5, sampler="ddim", width=640, height=480)

    assert filled == {
        "prompt": "a fox", "negative_prompt": "", "seed": 42, "count": 1, "steps": 9, "guidance_scale": 3.5,
        "width": 640, "height": 480, "sampler": "ddim", "model": "fox-diffusion",
    }  # fmt: skip


def test_what_is_given_is_kept():
    given_options = {
        "negative_prompt": "blurry", "seed": 0, "count": 4, "steps": 1, "guidance_scale": 0.0, "width": 256,
        "height": 128, "sampler": "euler_a",
    }  # fmt: skip

    assert fill(given_options).items() >= given_options.items()


def test_filling_in_what_was_filled_in_changes_nothing():
    filled = fill({"aspect": "3:2", "seed": 3})

    assert fill(filled) == filled


def test_more_steps_than_the_model_takes_are_refused():
    refused = refusal({"steps": 51}, max_steps=50)

    assert (refused.option, refused.problem, refused.allowed) == ("steps", "range", "1 to 50")


def test_strength_without_a_picture_is_refused():
    assert refusal({"strength": 0.5}).problem == "needs_init"


@pytest.mark.parametrize(("options", "strength"), [({}, 0.7), ({"strength": 0.2}, 0.2)])
def test_with_a_picture_strength_is_filled_in(options, strength):
    assert fill(options, images=PHOTO, strength=0.7)["strength"] == strength


def test_a_negative_prompt_is_refused_by_a_model_that_takes_none():
    assert refusal({"negative": "blurry"}, takes_negative=False).problem == "model_lacks"


def test_an_empty_negative_prompt_is_taken_by_every_model():
    assert fill({"negative": ""}, takes_negative=False)["negative_prompt"] == ""


def test_a_sampler_that_the_model_lacks_is_refused_with_those_it_has():
    refused = refusal({"sampler": "ddim"}, samplers=("euler", "heun"))

    assert (refused.problem, refused.allowed) == ("choice", "euler, heun")


def test_a_loaded_model_knows_its_own_samplers():
    model = make_model().with_capabilities({"samplers": ["heun"]})

    with pytest.raises(InvalidOption) as refused:
        Imagine.from_options({**FOX, "sampler": "euler"}).fill_options(model, 1)

    assert refused.value.allowed == "heun"


@pytest.mark.parametrize("written", ["256x128", "256X128", "256 x 128", "256\u00d7128", "256*128"])
def test_a_size_is_read_however_it_is_written(written):
    filled = fill({"size": written})

    assert (filled["width"], filled["height"]) == (256, 128)


@pytest.mark.parametrize("written", ["256", "x256", "256x", "0x256", "axb", "256x128x64", "-256x128", "1e3x100"])
def test_what_is_no_size_is_refused_with_an_example(written):
    refused = refusal({"size": written})

    assert (refused.problem, refused.allowed) == ("type", "WIDTHxHEIGHT, such as 512x512")


@pytest.mark.parametrize("options", [{"width": 32}, {"height": 2048}, {"size": "32x512"}, {"size": "512x99999"}])
def test_a_side_that_the_model_cannot_make_is_refused(options):
    refused = refusal(options)

    assert (refused.problem, refused.allowed) == ("range", "64 to 1024")


@pytest.mark.parametrize(("side", "near"), [(100, "96"), (101, "104"), (513, "512")])
def test_a_side_that_is_no_multiple_is_refused_with_the_nearest(side, near):
    refused = refusal({"width": side})

    assert (refused.option, refused.problem, refused.allowed, refused.nearest) == ("width", "multiple", "8", near)


@given(side=st.integers(65, 1000), multiple=st.sampled_from([8, 16, 64]))
def test_the_side_proposed_is_one_that_is_taken(side, multiple):
    model = {"size_multiple": multiple, "min_size": 65, "max_size": 1000}
    assume(side % multiple)

    near = int(refusal({"width": side, "height": 640}, **model).nearest)

    assert fill({"width": near, "height": 640}, **model)["width"] == near


@pytest.mark.parametrize(
    "options",
    [
        {"size": "256x256", "aspect": "1:1"},
        {"size": "256x256", "width": 256},
        {"aspect": "1:1", "height": 256},
    ],
)
def test_a_size_given_in_two_ways_is_refused(options):
    assert refusal(options).problem == "size_twice"


def test_one_side_given_leaves_the_other_to_the_model():
    filled = fill({"width": 256}, width=512, height=384)

    assert (filled["width"], filled["height"]) == (256, 384)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [("1:1", (512, 512)), ("4:1", (1024, 256)), ("1:4", (256, 1024)), ("16/9", (680, 384)), ("1.5:1", (624, 416))],
)
def test_an_aspect_keeps_the_area_of_the_model(aspect, size):
    filled = fill({"aspect": aspect})

    assert (filled["width"], filled["height"]) == size


@pytest.mark.parametrize(
    ("aspect", "problem"), [("5:1", "range"), ("1:5", "range"), ("0:1", "type"), ("1:0", "type"), ("wide", "type")]
)
def test_an_aspect_beyond_measure_is_refused(aspect, problem):
    assert refusal({"aspect": aspect}).problem == problem


def test_a_picture_to_start_from_gives_its_aspect():
    filled = fill(images=PHOTO, aspect=2.0)

    assert filled["width"] / filled["height"] == pytest.approx(2.0, rel=0.05)


def test_a_very_long_picture_to_start_from_is_taken_at_the_longest_aspect():
    filled = fill(images=PHOTO, aspect=30.0)

    assert (filled["width"], filled["height"]) == (1024, 256)


def test_a_size_given_overrules_the_aspect_of_the_picture():
    filled = fill({"width": 256, "height": 256}, images=PHOTO, aspect=2.0)

    assert (filled["width"], filled["height"]) == (256, 256)


@given(ratio=st.floats(0.25, 4), multiple=st.sampled_from([8, 16, 64]))
def test_every_aspect_gives_a_size_that_the_model_takes(ratio, multiple):
    width, height = fit_aspect(make_model(size_multiple=multiple), ratio, "aspect")

    assert fill({"width": width, "height": height}, size_multiple=multiple)


def test_steps_from_a_picture_are_those_that_its_strength_leaves():
    command = Imagine.from_options({**FOX, "steps": 20, "strength": 0.31, "count": 2}, PHOTO)

    assert command.work_units(command.fill_options(make_model(), 1)) == (7, 512 * 512, 2)


# ---------------------------------------------------------------- caption and ask


def test_generation_options_have_defaults():
    filled = Ask.from_options({"question": "who?"}, PHOTO).fill_options(make_model(max_new_tokens=20), 5)

    assert filled == {
        "question": "who?", "num_beams": 1, "temperature": 0.0, "top_p": 1.0, "top_k": None, "min_new_tokens": 0,
        "max_new_tokens": 20, "seed": 5, "model": "fox-diffusion", "preset": None, "repetition_penalty": 1.0,
        "length_penalty": 1.0, "num_return_sequences": 1, "adapter": None,
    }  # fmt: skip


BLIP = {
    "max_new_tokens": 30, "max_answer_tokens": 10, "min_caption_tokens": 8, "num_beams": 5,
    "answer_length_penalty": -1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "given", "expected"),
    [
        (Caption, {}, {"num_beams": 5, "min_new_tokens": 8, "max_new_tokens": 30, "length_penalty": 1.0}),
        (Ask, {}, {"num_beams": 5, "min_new_tokens": 1, "max_new_tokens": 10, "length_penalty": -1.0}),
        (Ask, {"num_beams": 1, "max_new_tokens": 40}, {"num_beams": 1, "max_new_tokens": 40}),
        (Caption, {"max_new_tokens": 4}, {"min_new_tokens": 4, "max_new_tokens": 4}),
        (
            Caption,
            {"preset": "short"},
            {"min_new_tokens": 1, "max_new_tokens": 12, "length_penalty": -1.0, "num_beams": 5},
        ),
        (Ask, {"preset": "detailed"}, {"max_new_tokens": 80, "length_penalty": 2.0, "num_beams": 5}),
        (Ask, {"preset": "detailed", "max_new_tokens": 9}, {"max_new_tokens": 9, "num_beams": 5}),
        (Caption, {"num_return_sequences": 3}, {"num_beams": 5}),
        (Caption, {"num_return_sequences": 3, "num_beams": 2}, {"num_beams": 3}),
        (Caption, {"num_return_sequences": 3, "num_beams": 1, "temperature": 0.5}, {"num_beams": 1}),
        (Caption, {"num_return_sequences": 4, "num_beams": 2, "temperature": 0.5}, {"num_beams": 4}),
        (Ask, {"preset": "short"}, {"max_new_tokens": 10}),
    ],
)
def test_generation_options_are_as_given_else_of_the_preset_else_of_the_model(command, given, expected):
    asked = {"question": "who?"} if command is Ask else {}

    filled = command.from_options({**asked, **given}, PHOTO).fill_options(make_model(**BLIP), 5)

    assert {name: filled[name] for name in expected} == expected


@pytest.mark.parametrize(("preset", "tokens"), [("short", 32), ("detailed", 256)])
def test_a_preset_sets_only_the_length_of_a_model_that_chats(preset, tokens):
    model = make_model(tasks=("image-text-to-text", "image-to-text"), max_new_tokens=80)

    filled = Caption.from_options({"preset": preset}, PHOTO).fill_options(model, 5)

    assert (filled["max_new_tokens"], filled["num_beams"], filled["length_penalty"]) == (tokens, 1, 1.0)


@pytest.mark.parametrize(("given", "tokens"), [({}, 150), ({"num_beams": 1}, 30), ({"num_return_sequences": 4}, 150)])
def test_beams_and_several_texts_are_paid(given, tokens):
    command = Caption.from_options(given, PHOTO)

    assert command.work_units(command.fill_options(make_model(**BLIP), 5))[0] == tokens


def test_a_detailed_text_is_no_shorter_than_the_models_usual_ones():
    filled = Caption.from_options({"preset": "detailed"}, PHOTO).fill_options(make_model(max_new_tokens=120), 5)

    assert filled["max_new_tokens"] == 120


def test_how_many_prompts_describe_writes_is_said_once():
    with pytest.raises(InvalidOption) as refused:
        Describe.from_options({"num_return_sequences": 4}, PHOTO)

    assert refused.value.problem == "unknown"


def test_a_minimum_of_tokens_lifts_the_default_maximum():
    filled = Caption.from_options({"min_new_tokens": 100}, PHOTO).fill_options(make_model(max_new_tokens=20), 5)

    assert filled["max_new_tokens"] == 100


def test_a_minimum_above_the_maximum_is_refused():
    with pytest.raises(InvalidOption) as refused:
        Caption.from_options({"min_new_tokens": 9, "max_new_tokens": 8}, PHOTO).fill_options(make_model(), 5)

    assert (refused.value.option, refused.value.allowed) == ("min_new_tokens", "0 to 8")


@pytest.mark.parametrize(
    ("tasks", "longest"), [((VISUAL_QUESTION_ANSWERING,), 500), ((IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING), 8000)]
)
def test_a_question_is_as_long_as_its_model_can_read(tasks, longest):
    models = ModelRegistry({"look": make_model(name="look", tasks=tasks)})
    Ask.from_options({"question": "x" * longest}, PHOTO).choose_model(models)
    with pytest.raises(InvalidOption) as refused:
        Ask.from_options({"question": "x" * (longest + 1)}, PHOTO).choose_model(models)

    assert (refused.value.problem, refused.value.allowed) == ("long", str(longest))


@pytest.mark.parametrize(("kind", "task"), [(Caption, IMAGE_TO_TEXT), (Ask, VISUAL_QUESTION_ANSWERING)])
def test_each_command_about_a_picture_has_its_task(kind, task):
    assert kind(images=PHOTO).task == task


def test_the_last_picture_of_several_has_a_seed_too():
    command = Imagine.from_options({"prompt": "a fox", "seed": MAX_SEED, "count": 2})

    with pytest.raises(InvalidOption) as refused:
        command.fill_options(make_model(), 1)

    assert (refused.value.option, refused.value.problem) == ("seed", "range")
    assert (
        Imagine.from_options({"prompt": "a fox", "count": 4}).fill_options(make_model(), MAX_SEED)["seed"]
        == MAX_SEED - 3
    )
