"""The axes of grids: how they are written, and what is refused."""

import time

import pytest

from bot.commands import Grid, find_command
from bot.error_texts import explain
from bot.errors import InvalidOption


def axes_of(line):
    return [(axis.name, axis.option, axis.values) for axis in Grid.from_text(line).axes]


@pytest.mark.parametrize(
    ("written", "option", "values"),
    [
        ("steps=4,8", "steps", (4, 8)),
        ("Steps = 4 , 8", "steps", (4, 8)),
        ("guidance=1,5.5", "guidance_scale", (1.0, 5.5)),
        ("steps=1-5", "steps", (1, 2, 3, 4, 5)),
        ("steps=4-20:4,30", "steps", (4, 8, 12, 16, 20, 30)),
        ("steps=10-4:3", "steps", (10, 7, 4)),
        ("guidance=0-1:0.25", "guidance_scale", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("steps=4-20 (+8)", "steps", (4, 12, 20)),
        ("guidance=1-2 [5]", "guidance_scale", (1.0, 1.25, 1.5, 1.75, 2.0)),
        ("lora:ink=-1-1:0.5", "lora:ink", (-1.0, -0.5, 0.0, 0.5, 1.0)),
        ("LoRA:Ink v1.5=0,1", "lora:Ink v1.5", (0.0, 1.0)),
        ("control:Canny=0,1.5", "control:canny", (0.0, 1.5)),
        ('prompt=fox,"a cat, grey",dog', "prompt", ("fox", "a cat, grey", "dog")),
        ('prompt=fox,""', "prompt", ("fox", "")),
        ("prompt=1-5,2-3", "prompt", ("1-5", "2-3")),
        ("size=64x64,128x64", "size", ("64x64", "128x64")),
        ("tiling=yes,no", "tiling", (True, False)),
        ("sampler=Euler a,ddim", "sampler", ("euler_a", "ddim")),
        ("seed=7", "seed", (7,)),
    ],
)
def test_an_axis_is_an_option_and_its_values(written, option, values):
    assert axes_of(f"a fox --x {written}") == [("x", option, values)]


def test_flags_of_a_grid_stand_in_any_order_and_need_no_quotes():
    command = Grid.from_text('a red fox --y prompt=red,dark green --steps 4 --x "guidance=1,5"')

    assert [axis.option for axis in command.axes] == ["guidance_scale", "prompt"]
    assert command.axes[1].values == ("red", "dark green")
    assert command.cell_options == {"prompt": "a red fox", "steps": 4}


def test_an_object_is_read_like_a_text_and_is_its_own_canonical_form():
    written = Grid.from_options({"prompt": "a fox", "x": {"option": "guidance", "values": ["1", 5]}}).values["x"]

    assert written == {"option": "guidance_scale", "values": [1.0, 5.0]}
    assert Grid.from_options({"prompt": "a fox", "x": written}).values["x"] == written
    assert Grid.from_options({"prompt": "a fox", "x": {"option": "steps", "values": "4-6"}}).axes[0].values == (4, 5, 6)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("steps", "must be an option and its values"),
        ("=4,8", "must be an option and its values"),
        ("steps=", "no values"),
        ("steps=4,,8", "empty value"),
        ("steps=4,", "empty value"),
        ("steps=four", "x, steps=four: steps is \u201cfour\u201d, but must be a whole number."),
        ("steps=0,4", "x, steps=0: steps is 0, but must be 1 to 150."),
        ("guidance=nan", "x, guidance=nan"),
        ("guidance=4,4.0,8", "twice"),
        ("steps=1-1000000000", "the limit is 100"),
        ("seed=1-9:0", "must be an option and its values"),
        ("stps=1", "Did you mean steps?"),
        ("x=1", "Unknown option x"),
        ("control:cany=1", "Did you mean canny?"),
        ("control:canny=3", "but must be 0 to 2"),
        ("lora:ink=5", "but must be -2 to 2"),
        ("lora:=1", "Unknown option"),
        ("lora:<script>=1", "Unknown option"),
        ("lora:ink:0.5>, a cat <lora:ink=0,1", "Unknown option"),
        ({"option": "lora:\ud800", "values": [1]}, "Unknown option"),
        ("sampler=foo", "x, sampler=foo: sampler cannot be"),
        ({"option": "steps"}, "or a text such as"),
        ({"option": "steps", "values": []}, "no values"),
        (f"steps=1-{'9' * 400}", "but must be a whole number"),
        (f"steps={'1' * 400}-{'1' * 400}", "but must be a whole number"),
        (f"steps=1-2 [{'9' * 5000}]", "but must be a whole number"),
        (f"guidance=1-2:0.{'0' * 400}1", "but must be a number"),
        (f"guidance=0-{'9' * 20}:0.{'0' * 19}1", "the limit is 100"),
        ("steps=1-2 [999999999]", "the limit is 100"),
        ({"option": "steps", "values": [[4]]}, "x, steps: steps is a list"),
        ({"option": "steps", "values": [None]}, "x, steps: steps is"),
        ({"option": "prompt", "values": "\u201c," * 100_000}, "Please shorten it."),
        ({"option": 4, "values": [4]}, "or a text such as"),
        ({"option": "steps", "values": [4], "label": "s"}, "or a text such as"),
        ([4, 8], "or a text such as"),
    ],
)
def test_a_wrong_axis_is_refused_with_a_sentence(axis, words):
    with pytest.raises(InvalidOption) as refused:
        _ = Grid.from_options({"prompt": "a fox", "x": axis}).axes

    assert refused.value.option == "x"
    assert words in explain(refused.value)


def test_an_axis_is_described_with_what_it_may_change():
    [axis] = [spec.describe() for spec in find_command("grid").specs if spec.name == "y"]

    assert axis["type"] == "axis"
    assert {"prompt", "seed", "image_guidance_scale", "lora:NAME", "control:KIND"} <= set(axis["axis_options"])
    assert not {"x", "y", "z"} & set(axis["axis_options"])


@pytest.mark.parametrize("axis", ["a" + " " * 20_000, "steps=" + "1" * 20_000 + "x", "\u201c=" + "\u201c," * 6_000])
def test_no_text_takes_long_to_read(axis):
    started = time.process_time()

    with pytest.raises(InvalidOption):
        Grid.from_options({"prompt": "a fox", "x": axis})
    assert time.process_time() - started < 0.25
