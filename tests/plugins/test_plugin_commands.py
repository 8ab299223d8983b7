"""Commands of plugins are checked when the plugin starts, and read like those of Easel."""

import re

import pytest

from bot.errors import InvalidOption
from bot.plugins import PluginCommand, PluginOption
from bot.plugins.command_options import BadCommand
from bot.plugins.plugin_commands import check_commands

TITLE = PluginOption(name="title", help="Words", is_required=True, is_main=True)


def command(name="poster", options=(), **more):
    return PluginCommand(**{"name": name, "summary": "A poster", "options": options, "run": print, **more})


def option(**fields):
    return command(options=(PluginOption(**{"name": "x", "help": "x", **fields}),))


def check(*declared, taken=("imagine", "help")):
    return check_commands("a-plugin", declared, taken)


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ([command("imagine")], "There is a command imagine already"),
        ([command("twice"), command("twice")], "There is a command twice already"),
        ([command("Bad Name")], "A command cannot be called 'Bad Name'"),
        ([command("x" * 33)], "A command cannot be called"),
        ([command(3)], "A command cannot be called '3'"),
        ([command(summary=" ")], "needs a summary"),
        ([command(run=None)], "needs run, a function"),
        ([command(answers="images")], "needs run, a function, and answers"),
        ([command(images=5)], "takes 0 to 4 images"),
        ([command(images=1, answers="text")], "none if it answers with a text"),
        ([command(options=("title",))], "is a PluginOption with a name"),
        ([command(options=(PluginOption(name="image", help="x"),))], "cannot have another option called image"),
        ([command(options=(PluginOption(name="line", help="x"),))], "cannot have another option called line"),
        ([command(options=None)], "at most 20 options"),
        ([option(name="interaction")], "cannot have another option called interaction"),
        ([option(name="image2")], "cannot have another option called image2"),
        ([option(name="from")], "cannot have another option called from"),
        ([option(kind="whole number", minimum=5, maximum=2)], "The minimum and maximum of x of the command poster"),
        ([option(kind="whole number", minimum="2")], "must be whole numbers of at most 2**53"),
        ([option(kind="whole number", maximum=2.5)], "must be whole numbers"),
        ([option(kind="number", maximum=float("nan"))], "must be numbers"),
        ([option(kind="number", maximum=10**30)], "must be numbers of at most 2**53"),
        ([option(kind="yes or no", maximum=1)], "has no minimum or maximum"),
        ([option(maximum=0)], "a whole number of characters from 1"),
        ([option(minimum=3)], "it has no minimum"),
        ([option(choices=("",))], "words in small letters"),
        ([option(choices=("a" * 101,))], "at most 100 characters"),
        ([option(choices=("a\nb",))], "words in small letters"),
        ([option(choices=("a", "a"))], "Two choices of x of the command poster are alike"),
        ([option(choices="abc")], "must be a list or tuple of words"),
        ([option(kind="number", choices=("1",))], "only a text has some"),
        ([option(choices=tuple(f"{number:0100}" for number in range(40)))], "have more than 7500 characters"),
        ([command(options=(TITLE, TITLE))], "cannot have another option called title"),
        (
            [
                command(
                    options=(
                        PluginOption(name="x", help="x", kind="date"),  # type: ignore[arg-type]
                    )
                )
            ],
            "and a kind: text, whole number",
        ),
        ([command(options=(PluginOption(name="x", help="x", choices=("Big",)),))], "words in small letters"),
        ([command(options=(PluginOption(name="x", help="x", kind="number", default="many"),))], "The default of x"),
        ([command(options=(TITLE, PluginOption(name="x", help="x", is_main=True)))], "Only one option of poster"),
        ([command(f"c{number}") for number in range(51)], "at most 50 commands"),
    ],
)
def test_a_command_that_cannot_be_offered_is_refused_with_a_sentence(declared, problem):
    with pytest.raises(BadCommand, match=re.escape(problem)) as refused:
        check(*declared)

    assert str(refused.value).endswith(".")


def test_a_line_and_named_options_are_read_alike():
    sides = PluginOption(name="sides", help="Of the die", kind="whole number", default="6", minimum=2)
    mood = PluginOption(name="mood", help="How", choices=("calm", "very_loud"))
    [own] = check(command(options=(sides, mood, TITLE)))
    expected = {"title": "Jazz night", "sides": 20, "mood": "very_loud"}

    assert own.read({}, "Jazz night --sides 20 --mood very-loud") == expected
    assert own.read({"line": "Jazz night --sides 20 --mood very-loud"}, None) == expected
    assert own.read({"title": "Jazz night", "sides": 20.0, "mood": "Very loud"}, None) == expected
    assert own.read({"title": "x"}, None) == {"title": "x", "sides": 6}
    assert [spec.name for spec in own.specs] == ["title", "sides", "mood"]
    with pytest.raises(InvalidOption, match="sides"):
        own.read({"title": "x", "sides": 1}, None)
