"""Plugins are found, and what they are is known, without running them."""

import os
from importlib.metadata import EntryPoint

import pytest

from bot.plugins.discovery import find_plugins


def find(plugins, *, server=(), worker=()):
    points = {
        "easel.plugins": [EntryPoint(name, "a_package", "easel.plugins") for name in server],
        "easel.worker_plugins": [EntryPoint(name, "a_package", "easel.worker_plugins") for name in worker],
    }
    return {one.name: one for one in find_plugins(plugins.data_dir, points.__getitem__)}


def test_a_file_is_of_the_side_whose_hooks_it_defines(plugins):
    plugins.write("words", "def easel_prompt(prompt): ...")
    plugins.write("pixels", "import torch\ndef easel_after_decode(pixels): ...")
    plugins.write("both_sides", "async def easel_prompt(prompt): ...\ndef easel_step(latents): ...")

    found = find(plugins)

    assert [(one.is_for_server, one.is_for_worker) for one in found.values()] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert found["both-sides"].server_hooks == {"easel_prompt"}
    assert not any(one.problem for one in found.values())


def test_nothing_of_a_file_is_run_to_find_it(plugins):
    plugins.write("loud", "raise RuntimeError\ndef easel_step(latents): ...")

    assert find(plugins)["loud"].problem == ""


def test_helpers_with_an_underscore_are_no_plugins(plugins):
    plugins.write("_shared", "x = 1")

    assert find(plugins) == {}


def test_settings_are_read_without_running_the_file(plugins):
    plugins.write("words", "SETTINGS = {'language': 'en', 'times': 2}\ndef easel_prompt(prompt): ...")

    assert find(plugins)["words"].defaults == {"language": "en", "times": 2}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def easel_promt(prompt): ...", "There is no hook easel_promt. Did you mean easel_prompt?"),
        ("x = 1", "It has no hooks"),
        ("def easel_prompt(:", "Line 1: "),
        ("import torch\ndef easel_prompt(prompt): ...", "It imports torch at its top, which the server must not"),
        ("try:\n    from torch import nn\nexcept ImportError: ...\ndef easel_prompt(p): ...", "It imports torch"),
        ("SETTINGS = {[]: 1}\ndef easel_prompt(prompt): ...", "SETTINGS must be a table of names and plain values"),
        ("SETTINGS = {'a': {1, 2}}\ndef easel_prompt(prompt): ...", "SETTINGS must be a table of names"),
        ("-" * 200_000 + "1", "It cannot be read: "),
        ("SETTINGS = dict(a=1)\ndef easel_prompt(prompt): ...", "SETTINGS must be a table of names and plain values"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(plugins, code, problem):
    plugins.write("words", code)

    assert find(plugins)["words"].problem.startswith(problem)


def test_what_is_no_file_is_not_opened(plugins):
    """A pipe without a writer would never answer."""
    plugins.write("words", "").with_name("folder.py").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(plugins.data_dir / "plugins" / "pipe.py")

    problems = {name: one.problem for name, one in find(plugins).items() if name != "words"}
    assert set(problems.values()) == {"It is not a file."}


@pytest.mark.parametrize("name", ["order", "disabled", "Déjà", "a b", "state"])
def test_a_name_that_no_setting_can_have_is_refused(plugins, name):
    plugins.write(name, "def easel_prompt(prompt): ...")

    [found] = find(plugins).values()
    assert "rename it" in found.problem


def test_the_sides_of_a_package_are_one_plugin(plugins):
    found = find(plugins, server=["mark"], worker=["mark", "noise"])

    assert [(one.is_for_server, one.is_for_worker) for one in found.values()] == [(True, True), (False, True)]
    assert found["mark"].defaults is None


def test_two_plugins_of_one_name_are_both_left_out(plugins):
    plugins.write("mark", "def easel_prompt(prompt): ...")

    found = find(plugins, server=["mark"])

    assert found["mark"].problem == "plugins/mark.py and a_package have one name: remove or rename one of them."
