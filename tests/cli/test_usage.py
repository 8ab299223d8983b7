"""Usage errors: one sentence on stderr, nothing on stdout, exit code 2."""

import json

import pytest

from adapters.cli.app import _fill_switches
from bot.commands import COMMANDS
from bot.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["imagine", "a fox", "--stesp", "5"], "There is no option --stesp. Did you mean --steps?"),
        (["imagine", "a fox", "--zzzz", "5"], "There is no option --zzzz. `easel imagine --help` lists the options."),
        (["imagine"], "PROMPT is missing. See `easel imagine --help`."),
        (["ask", "fox.png"], "QUESTION is missing. See `easel ask --help`."),
        (["match", "fox.png"], "TEXTS... is missing. See `easel match --help`."),
        (["imagine", "a fox", "--steps"], "--steps needs a value."),
        (["imagine", "a fox", "--steps", "many"], "--steps is \u201cmany\u201d, but must be a whole number."),
        (["imagine", "a fox", "--steps", "0"], "--steps is 0, but must be 1 to 150."),
        (["imagine", "a fox", "--steps", "-1"], "--steps is -1, but must be 1 to 150."),
        (["imagine", "a fox", "--guidance", "99"], "--guidance-scale is 99, but must be 0 to 30."),
        (["imagine", "a fox", "--seed", "1", "--seed", "2"], "--seed was given twice; give it once."),
        (["imagine", "   "], "prompt is empty."),
        (["imagine", "x" * 2001], "prompt has 2001 characters; the limit is 2000. Please shorten it."),
        (["imagine", "a fox", "--image", "a", "--image", "b"], "2 pictures are too many; the limit here is 1."),
        (["edit", "a", "blue", *["--image", "b"] * 4], "5 pictures are too many; the limit here is 4."),
        (["imagine", "a", "fox"], "See `easel imagine --help`."),
        (["imagin"], "There is no command imagin. Did you mean imagine?"),
        (["keys", "creat"], "There is no command creat. Did you mean create?"),
        (["keys"], "A command is missing. `easel keys --help` lists them."),
        ([], "A command is missing. `easel --help` lists them."),
        (["keys", "create", "--persn", "Ann"], "There is no option --persn. Did you mean --person?"),
    ],
)
def test_a_usage_error_is_one_sentence(call, words, sentence):
    result = call(*words)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("easel: ")
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_a_usage_error_is_json_with_the_json_option(call):
    result = call("imagine", "a fox", "--steps", "many", "--json")

    assert result.code == 2
    assert json.loads(result.out)["error"]["code"] == "invalid_option"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_all_its_options_by_all_their_names(call, name):
    result = call(name, "--help")

    flags = {
        f"--{one.replace('_', '-')}"
        for spec in COMMANDS[name].specs
        if not spec.is_main
        for one in (spec.name, *spec.aliases)
    }
    assert result.code == 0
    assert [flag for flag in flags if flag not in result.out] == []


@pytest.mark.parametrize(
    "words",
    [["--negative", "dark"], ["--negative-prompt", "dark"], ["--negative_prompt", "dark"], ["--NEGATIVE", "dark"]],
)
def test_an_option_is_accepted_by_all_its_names(call, words):
    result = call("imagine", "a fox", "--json", *words)

    assert json.loads(result.out)["options"]["negative_prompt"] == "dark"


def test_a_prompt_may_begin_with_dashes_after_two_dashes(call):
    result = call("imagine", "--json", "--", "--a fox")

    assert json.loads(result.out)["options"]["prompt"] == "--a fox"


def test_the_version_is_one_line(call):
    result = call("--version")

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("easel 0.")


def test_the_version_is_that_of_the_clone_not_of_the_installed_package(call, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9.8.7"\n')
    monkeypatch.setattr("adapters.cli.app.PROJECT", tmp_path / "pyproject.toml")

    assert call("--version").out == "easel 9.8.7\n"


def test_without_a_clone_the_version_is_that_of_the_package(call, tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.cli.app.PROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr("importlib.metadata.version", {"easel": "9.8.6"}.__getitem__)

    assert call("--version").out == "easel 9.8.6\n"


def test_invalid_settings_are_one_line_each_and_bad_usage(call, composition):
    composition.failures["load"] = ConfigError(["config.toml: one is wrong.", "EASEL_X: two is wrong."])

    result = call("imagine", "a fox")

    assert result.code == 2
    assert result.err.splitlines() == ["easel: config.toml: one is wrong.", "easel: EASEL_X: two is wrong."]


def test_options_of_serve_are_the_variables_of_the_same_name(call, composition, monkeypatch, tmp_path):
    import os

    for name in ("EASEL_WEB__HOST", "EASEL_WEB__PORT"):
        monkeypatch.setenv(name, "before")

    result = call(
        "serve", "--host", "127.0.0.2", "--port", "0", "--data-dir", str(tmp_path), "--config", str(tmp_path / "a.toml")
    )

    assert result.code == 0
    assert (os.environ["EASEL_WEB__HOST"], os.environ["EASEL_WEB__PORT"]) == ("127.0.0.2", "0")
    assert os.environ["EASEL_DATA_DIR"] == str(tmp_path)
    assert composition.configs == [tmp_path / "a.toml"]


@pytest.mark.parametrize("command", [("use", "fox"), ("add", "fox.safetensors")], ids=["use", "add"])
def test_a_choice_that_does_not_exist_is_refused_in_words_of_its_own(call, command):
    result = call("models", *command, "--weights", "3bit")

    assert result.code == 2
    assert "'--weights': '3bit' is not one of 'auto', 'none', '8bit', '4bit', 'fp8'." in result.err


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["imagine", "x", "--enhance"], ["imagine", "x", "--enhance", "yes"]),
        (["imagine", "--Tiling", "--seed", "7", "x"], ["imagine", "--Tiling", "yes", "--seed", "7", "x"]),
        (["imagine", "x", "--enhance", "no"], ["imagine", "x", "--enhance", "no"]),
        (["imagine", "--enhance", "a fox"], ["imagine", "--enhance", "yes", "a fox"]),
        (["imagine", "--enhance", "--", "--tiling"], ["imagine", "--enhance", "yes", "--", "--tiling"]),
        (["ask", "a.png", "why?", "--together"], ["ask", "a.png", "why?", "--together"]),
        (["models", "list"], ["models", "list"]),
        ([], []),
    ],
)
def test_a_switch_needs_no_value(typed, read):
    assert _fill_switches(typed) == read
