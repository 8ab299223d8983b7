"""`zoom`, `pan` and `square`: where the picture stands on its canvas, and what is refused."""

from dataclasses import replace

import pytest

from bot.commands import COMMANDS
from bot.commands.canvas import plan_canvas
from bot.commands.parts import parts_of
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef, StoredImage
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from tests.fakes import make_model

OUTPAINTING = ("zoom", "pan", "square")
MODEL = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), width=512, height=512, size_multiple=8, max_size=1024)


def make_command(name, size=(96, 64), **options):
    command = COMMANDS[name].from_options(options, [ImageRef("a" * 64)])
    picture = StoredImage(id="a" * 64, media_type="image/png", width=size[0], height=size[1])
    return command.with_images([picture])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("zoom", {"factor": 1.5}, (96, 64, 16, 10, (64, 43))),
        ("zoom", {"factor": 2}, (96, 64, 24, 16, (48, 32))),
        ("pan", {"direction": "left"}, (144, 64, 48, 0, (96, 64))),
        ("pan", {"direction": "right"}, (144, 64, 0, 0, (96, 64))),
        ("pan", {"direction": "up"}, (96, 96, 0, 32, (96, 64))),
        ("pan", {"direction": "down"}, (96, 96, 0, 0, (96, 64))),
        ("square", {}, (96, 96, 0, 16, (96, 64))),
    ],
)
def test_the_picture_has_its_place_on_the_canvas(name, options, expected):
    canvas = plan_canvas(name, options, (96, 64))

    assert (canvas.width, canvas.height, canvas.left, canvas.top, canvas.picture) == expected


@pytest.mark.parametrize(("name", "shape"), [("zoom", 96 / 64), ("pan", 144 / 64), ("square", 1)])
def test_the_new_part_is_painted_at_the_models_size_in_the_shape_of_the_canvas(name, shape):
    filled = make_command(name).fill_options(MODEL, 7)

    assert filled["width"] / filled["height"] == pytest.approx(shape, rel=0.02)
    assert filled["width"] * filled["height"] == pytest.approx(512 * 512, rel=0.03)
    assert (filled["inpaint_area"], filled["prompt"], filled["seed"]) == ("masked", "", 7)


@pytest.mark.parametrize(
    ("is_demo", "given", "strength"), [(False, {}, 0.8), (True, {}, 0.5), (True, {"strength": 1}, 1)]
)
def test_demo_models_change_less_of_the_continued_edges(is_demo, given, strength):
    assert make_command("pan", **given).fill_options(replace(MODEL, demo=is_demo), 7)["strength"] == strength


def test_the_options_that_say_where_have_defaults():
    assert make_command("zoom").fill_options(MODEL, 7)["factor"] == 1.5
    assert make_command("pan").fill_options(MODEL, 7)["direction"] == "right"


@pytest.mark.parametrize(
    ("name", "size", "options", "problem"),
    [
        ("square", (64, 64), {}, "canvas_full"),
        ("zoom", (1, 1), {"factor": 1.5}, "canvas_small"),
        ("pan", (1, 1), {"direction": "left"}, "canvas_small"),
        ("zoom", (2, 3), {"factor": 1.1}, "canvas_small"),
        ("pan", (300, 100), {"direction": "right"}, "canvas_size"),
        ("pan", (3800, 3800), {"direction": "up"}, "canvas_size"),
        ("square", (100, 500), {}, None),
    ],
)
def test_a_canvas_that_cannot_be_is_refused_before_anything_is_charged(name, size, options, problem):
    command = make_command(name, size, **options)

    if problem is None:
        command.fill_options(MODEL, 7)
        return
    with pytest.raises(InvalidOption) as refused:
        command.fill_options(MODEL, 7)
    assert refused.value.problem == problem


@pytest.mark.parametrize("options", [{"factor": 1}, {"factor": float("nan")}, {"factor": 5}, {"factor": "wide"}])
def test_a_factor_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidOption):
        make_command("zoom", **options)


@pytest.mark.parametrize(
    ("name", "line", "values"),
    [
        ("pan", "Left", {"direction": "left"}),
        ("pan", "up --steps 9", {"direction": "up", "steps": 9}),
        ("pan", "left of the sea", {"prompt": "left of the sea"}),
        ("pan", "left --direction up", {"prompt": "left", "direction": "up"}),
        ("pan", "left a beach", {"direction": "left", "prompt": "a beach"}),
        ("pan", "Down: the sea, waves --seed 7", {"direction": "down", "prompt": "the sea, waves", "seed": 7}),
        ("pan", "right, side of a castle", {"direction": "right", "prompt": "side of a castle"}),
        ("pan", "up the hill", {"prompt": "up the hill"}),
        ("pan", "left the sea", {"direction": "left", "prompt": "the sea"}),
        ("pan", "lefty a beach", {"prompt": "lefty a beach"}),
        ("pan", "left right a beach", {"direction": "left", "prompt": "right a beach"}),
        ("zoom", "2x a beach", {"factor": 2.0, "prompt": "a beach"}),
        ("zoom", "1.5x, foxes", {"factor": 1.5, "prompt": "foxes"}),
        ("zoom", "2 a beach", {"factor": 2.0, "prompt": "a beach"}),
        ("zoom", "3: foxes --factor 2", {"prompt": "3: foxes", "factor": 2.0}),
        ("zoom", "1920x1080 wallpaper", {"prompt": "1920x1080 wallpaper"}),
        ("zoom", "2x", {"factor": 2.0}),
        ("zoom", "1.5", {"factor": 1.5}),
        ("zoom", "2 foxes", {"prompt": "2 foxes"}),
        ("square", "2", {"prompt": "2"}),
    ],
)
def test_a_direction_or_a_factor_may_stand_before_or_in_place_of_the_prompt(name, line, values):
    assert COMMANDS[name].from_text(line, [ImageRef("a" * 64)]).values == values


def test_a_direction_may_begin_the_prompt_of_named_options():
    command = COMMANDS["pan"].from_options({"prompt": "Left a beach"}, [ImageRef("a" * 64)])

    assert command.values == {"direction": "left", "prompt": "a beach"}


def test_a_factor_out_of_range_in_place_of_the_prompt_is_refused():
    with pytest.raises(InvalidOption):
        COMMANDS["zoom"].from_text("9", [ImageRef("a" * 64)])


@pytest.mark.parametrize("name", OUTPAINTING)
def test_no_model_that_starts_from_pictures_is_said_in_one_sentence(name):
    with pytest.raises(NoModel, match="paint around"):
        make_command(name).choose_model(ModelRegistry({}))


@pytest.mark.parametrize("name", OUTPAINTING)
def test_painting_around_a_picture_costs_its_steps(name):
    command = make_command(name, steps=10)
    filled = command.fill_options(MODEL, 7)

    assert command.work_units(filled)[0] == 8  # the default strength makes four fifths of them


@pytest.mark.parametrize(("prompt", "is_captioned"), [("", True), ("a fox", False)])
def test_a_caption_is_a_part_of_the_price(prompt, is_captioned):
    reader, demo = (make_model(name="reader", tasks=(IMAGE_TO_TEXT,), demo=is_demo) for is_demo in (False, True))
    command = make_command("zoom", prompt=prompt)
    options = command.fill_options(MODEL, 7)
    for model, expected in ((reader, [reader] * is_captioned), (demo, [])):
        models = ModelRegistry({one.name: one for one in (MODEL, model)})
        assert [part.model for part in parts_of(command, options, models)] == expected
