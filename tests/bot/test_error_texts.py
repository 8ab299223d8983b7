"""Every error has a sentence, and no sentence reveals internals."""

import ast
import inspect
import re
from pathlib import Path
from string import Formatter

import pytest

from bot import error_texts, errors
from bot.commands import COMMANDS, Imagine
from bot.errors import EaselError, EngineError, InvalidOption, UserError
from bot.ports.platform_answers import PlatformError
from bot.problem_texts.training_problems import TRAINING_PROBLEMS
from tests.fakes import NOON

BOT = Path(error_texts.__file__).parent
KINDS = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, EaselError)
}  # fmt: skip
ARGUMENTS = {
    "command": "ask", "option": "steps", "problem": "range", "value": 99, "allowed": "1 to 50",
    "name": "owl", "known": ("imagine", "ask"), "limit": 20.0, "left": 3.0,
    "cost": 5.0, "resets_at": NOON, "retry_after_s": 7, "kind": "job", "job_id": "abcd", "media_id": "0f", "state":
    "rendered", "key": "k", "unit": "MiB", "reason": "words", "model": "fox", "limit_s": 9.0,
    "limit_mb": 1024.0, "used_mb": 1000.0,
    "was_alone": True, "problems": (), "sentence": "The port is taken.", "detail": "/home/ann/x.py: KeyError",
    "repo": "org/fox", "url": "http://hub/org/fox",
}  # fmt: skip
PROBLEM_OF = {
    "UnsupportedMedia": "damaged", "Unauthorized": "key", "DownloadFailed": "gated", "ModelRefused": "disk",
    "TrainingRefused": "stopped",
}  # fmt: skip


def make_error(name):
    kind = KINDS[name]
    needed = inspect.signature(kind.__init__).parameters
    arguments = {key: value for key, value in ARGUMENTS.items() if key in needed}
    if name in PROBLEM_OF:
        arguments |= (
            {"problem": PROBLEM_OF[name], "detail": "2 GiB"} if "detail" in needed else {"problem": PROBLEM_OF[name]}
        )
    return kind(**arguments)


def problems_named_in_source():
    """The second argument of every `InvalidOption(...)` in bot and its neighbours."""
    found = set()
    for path in [*BOT.rglob("*.py"), *(BOT.parent / "adapters").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "InvalidOption"
            ):
                found |= {part.value for part in ast.walk(node.args[1]) if isinstance(part, ast.Constant)}
    return found - {"problem"}


def refused_trainings():
    """Problem and names of the data of every `TrainingRefused(...)` in the source."""
    found = set()
    for path in [*BOT.rglob("*.py"), *(BOT.parent / "inference" / "learning").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "TrainingRefused"
            ):
                names = tuple(sorted(one.arg or "**" for one in node.keywords))
                found |= {(one.value, names) for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)}
    return sorted(found)


@pytest.mark.parametrize(("problem", "given"), refused_trainings())
def test_every_refused_training_has_a_sentence_with_its_data(problem, given):
    needed = {field for _, field, _, _ in Formatter().parse(TRAINING_PROBLEMS[problem]) if field}

    assert needed <= set(given) or "**" in given


@pytest.mark.parametrize("name", KINDS)
def test_every_error_has_a_calm_sentence(name):
    sentence = error_texts.explain(make_error(name), incident="1a2b")

    assert re.fullmatch(r"[A-Za-z].{10,}[a-zA-Z0-9)`]\.", sentence)
    assert not re.search(r"[{}]|Traceback|Error|/home|\.py", sentence)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if issubclass(kind, UserError)])
def test_every_refusal_has_a_sentence_of_its_own(name):
    if KINDS[name] is not UserError:
        assert "refused (" not in error_texts.explain(make_error(name))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if issubclass(kind, EngineError)])
def test_every_engine_error_has_a_sentence_that_says_nothing_was_charged(name):
    assert KINDS[name].code in error_texts.ENGINE_SENTENCES
    assert "weren't charged" in error_texts.explain(make_error(name))


def test_an_unexpected_exception_is_explained_without_its_words():
    sentence = error_texts.explain(KeyError("/home/ann/secret"), incident="1a2b")

    assert "1a2b" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("problem", sorted(problems_named_in_source()))
def test_every_problem_that_is_raised_has_a_sentence(problem):
    assert problem in error_texts.OPTION_PROBLEMS


@pytest.mark.parametrize("problem", error_texts.OPTION_PROBLEMS)
def test_every_problem_becomes_a_sentence(problem):
    error = InvalidOption("steps", problem, value=99, allowed="1 to 50", nearest="steps")

    assert re.fullmatch(r"[A-Za-z0-9].{10,}\.", error_texts.explain(error))


@pytest.mark.parametrize("problem", error_texts.MEDIA_PROBLEMS)
def test_every_media_problem_becomes_a_sentence(problem):
    assert error_texts.explain(errors.UnsupportedMedia(problem, found="TIFF")).endswith(".")


@pytest.mark.parametrize("problem", error_texts.UNAUTHORIZED)
def test_every_reason_for_being_unknown_becomes_a_sentence(problem):
    assert error_texts.explain(errors.Unauthorized(problem)).endswith(".")


def test_braces_in_what_a_person_typed_do_no_harm():
    error = InvalidOption("{option}", "choice", value="{allowed} {0}", allowed="a, b", nearest="{x}")

    assert "{allowed} {0}" in error_texts.explain(error)


@pytest.mark.parametrize("value", ["x" * 5000, 10**4000, -(10**5000), ["x"] * 5000, {"a": "b" * 5000}], ids=range(5))
def test_a_huge_value_is_cut_short(value):
    assert len(error_texts.explain(InvalidOption("steps", "type", value=value, allowed="a whole number"))) < 200


def test_unseen_characters_are_not_repeated_to_the_person():
    error = InvalidOption("st\u202eeps", "unknown", value="a\0b", allowed="steps", nearest="steps")
    bad_value = InvalidOption("steps", "type", value="\u202e3\0", allowed="a whole number")

    assert "\u202e" not in error_texts.explain(error)
    assert not set("\u202e\0") & set(error_texts.explain(bad_value))
    assert "\u202e" not in error_texts.explain(errors.UnknownCommand("im\u202eagine", ("imagine",)))


def test_a_refusal_names_what_is_wrong_what_was_given_and_what_is_allowed():
    with pytest.raises(InvalidOption) as refused:
        Imagine.from_options({"prompt": "a fox", "steps": 999})

    assert error_texts.explain(refused.value) == "steps is 999, but must be 1 to 150."


@pytest.mark.parametrize(("value", "shown"), [(99.0, "99"), (99.5, "99.5"), (1e30, "1e+30"), (float("inf"), "inf")])
def test_a_number_is_said_as_people_write_it(value, shown):
    sentence = error_texts.explain(errors.InvalidOption("guidance", "range", value=value, allowed="0 to 30"))

    assert sentence == f"guidance is {shown}, but must be 0 to 30."


def test_a_mistyped_option_is_answered_with_the_nearest():
    with pytest.raises(InvalidOption) as refused:
        Imagine.from_text("a fox --stpes 3")

    assert error_texts.explain(refused.value).startswith("Unknown option stpes. Did you mean steps? Options: prompt,")


@pytest.mark.parametrize("command", [one for one in COMMANDS.values() if any(spec.is_required for spec in one.specs)])
def test_a_command_without_its_text_is_answered_with_an_example(command):
    with pytest.raises(InvalidOption) as refused:
        command.from_text("")

    assert re.fullmatch(r"Add .*, for example: .+\W", error_texts.explain(refused.value))


def test_each_option_is_listed_by_one_name():
    with pytest.raises(InvalidOption) as refused:
        Imagine.from_text("a fox --nothing 3")
    listed = error_texts.explain(refused.value).partition("Options: ")[2].rstrip(".").split(", ")

    assert len(listed) == len(Imagine.specs)
    assert {"negative_prompt", "guidance_scale"} <= set(listed)


def test_an_unknown_language_falls_back_to_english():
    sentence = error_texts.explain(errors.Unauthorized(), locale="tlh")

    assert sentence == error_texts.explain(errors.Unauthorized())


@pytest.mark.parametrize("locale", ["", "../../etc", "de\0", "x" * 9999, "de-DE", "C"])
def test_a_strange_language_does_no_harm(locale):
    assert error_texts.explain(errors.Unauthorized(), locale=locale)


@pytest.mark.parametrize("name", KINDS)
def test_every_error_has_a_stable_code(name):
    assert re.fullmatch("[a-z_]+", KINDS[name].code)


def test_a_delivery_problem_is_no_refusal():
    assert not issubclass(PlatformError, UserError)
