"""Options of chat commands: typed by people, given by name, and written in examples."""

import pytest

from bot.chat import account_commands, admin, job_commands
from bot.chat.arguments import SLASH, TYPED, ChatOption, OptionKind, check_arguments, parse_arguments
from bot.chat.commands import CHAT_COMMANDS
from bot.errors import InvalidOption

SETTINGS, ADMIN = account_commands.SETTINGS_OPTIONS, admin.OPTIONS


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("", {}),
        ("steps", {"option": "steps"}),
        ("steps 30", {"option": "steps", "value": "30"}),
        ("--steps 30", {"option": "steps", "value": "30"}),
        ("\u2014steps=30", {"option": "steps", "value": "30"}),
        ("steps = 30", {"option": "steps", "value": "30"}),
        ("steps: 30", {"option": "steps", "value": "30"}),
        ("negative red hats, green: shoes", {"option": "negative", "value": "red hats, green: shoes"}),
        ("--option steps --value 30", {"option": "steps", "value": "30"}),
    ],
)
def test_words_go_to_options_by_position_and_the_last_takes_the_rest(line, values):
    assert parse_arguments(SETTINGS, line) == values


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("models use fox --accept", {"what": "models", "action": "use", "model": "fox", "accept": True}),
        ("--accept models use fox", {"what": "models", "action": "use", "model": "fox", "accept": True}),
        ("policy spoiler --edit-others yes", {"what": "policy", "action": "spoiler", "edit_others": True}),
        ("policy \u2014edit_others=no", {"what": "policy", "edit_others": False}),
        ("release", {"what": "unload"}),
        ("MODELS", {"what": "models"}),
    ],
)
def test_flags_may_stand_anywhere(line, values):
    assert check_arguments(ADMIN, parse_arguments(ADMIN, line)) == values


def test_a_flag_that_no_option_has_is_searched_for():
    assert parse_arguments(job_commands.HISTORY_OPTIONS, "a --fox b") == {"search": "a --fox b"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [({"what": "polcy"}, "choice"), ({"edit_others": "perhaps"}, "choice"), ({"colour": "red"}, "unknown")],
)
def test_what_no_option_accepts_is_refused(values, problem):
    with pytest.raises(InvalidOption) as refused:
        check_arguments(ADMIN, values)

    assert refused.value.problem == problem


def test_what_was_not_given_is_left_out():
    assert check_arguments(ADMIN, {"what": None, "action": "", "accept": False}) == {"accept": False}


def test_examples_are_written_as_the_platform_writes_commands():
    options = {"what": "models", "action": "use", "model": "fox"}

    assert TYPED.write("admin", options, accept=True) == "/admin models use fox --accept"
    assert SLASH.write("admin", options, accept=True) == "/admin what:models action:use model:fox accept:True"
    assert TYPED.write("admin", {"what": "policy"}, edit_others="yes") == "/admin policy --edit-others yes"
    assert SLASH.write("admin", {"what": "policy"}, edit_others="yes") == "/admin what:policy edit_others:True"


@pytest.mark.parametrize("command", CHAT_COMMANDS.values(), ids=lambda command: command.name)
def test_at_most_the_last_text_of_a_command_takes_the_rest(command):
    texts = [option for option in command.options if option.kind is OptionKind.TEXT]

    assert not any(option.takes_rest for option in texts[:-1])
    assert len({option.name for option in command.options}) == len(command.options) <= 25


def test_number_formats_are_given_by_their_names_only():
    line = "models use fox please --weights 8bit --precision bf16"
    values = check_arguments(ADMIN, parse_arguments(ADMIN, line))

    assert values == {
        "what": "models", "action": "use", "model": "fox", "weights": "8bit", "precision": "bfloat16"
    }  # fmt: skip


def test_a_choice_may_have_another_spelling():
    option = ChatOption(name="option", help="", choices=("guidance",), aliases={"guidance_scale": "guidance"})

    assert option.parse("Guidance_Scale") == "guidance"


@pytest.mark.parametrize("name", [command for command, one in CHAT_COMMANDS.items() if one.options])
def test_every_argument_is_bounded_before_it_is_read(name):
    marks = "\u0315" * 20_000 + "\u0323" * 20_000
    options = CHAT_COMMANDS[name].options

    for option in options:
        with pytest.raises(InvalidOption) as refused:
            check_arguments(options, {option.name: marks})

        assert refused.value.problem in ("long", "type")
    with pytest.raises(InvalidOption) as refused:
        check_arguments(options, {marks: "x"})
    assert len(refused.value.option) <= 40
