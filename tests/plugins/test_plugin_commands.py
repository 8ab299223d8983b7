"""Commands of plugins are checked when the plugin starts, and read like those of Easel."""

import pytest

from bot.errors import InvalidOption
from bot.plugins import PluginCommand, PluginOption
from bot.plugins.plugin_commands import BadCommand, check_commands

TITLE = PluginOption(name="title", help="Words", is_required=True, is_main=True)


def command(name="poster", options=(), **more):
    return PluginCommand(**{"name": name, "summary": "A poster", "options": options, "run": print, **more})


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
        ([command(options=(TITLE, TITLE))], "cannot have another option called title"),
        ([command(options=(PluginOption(name="x", help="x", kind="date"),))], "and a kind: text, whole number"),
        ([command(options=(PluginOption(name="x", help="x", choices=("Big",)),))], "words in small letters"),
        ([command(options=(PluginOption(name="x", help="x", kind="number", default="many"),))], "The default of x"),
        ([command(options=(TITLE, PluginOption(name="x", help="x", is_main=True)))], "Only one option of poster"),
        ([command(f"c{number}") for number in range(51)], "at most 50 commands"),
    ],
)
def test_a_command_that_cannot_be_offered_is_refused_with_a_sentence(declared, problem):
    with pytest.raises(BadCommand, match=problem.replace("(", "\\(")) as refused:
        check(*declared)

    assert str(refused.value).endswith(".")


def test_a_line_and_named_options_are_read_alike():
    sides = PluginOption(name="sides", help="Of the die", kind="whole number", default=6, minimum=2)
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
