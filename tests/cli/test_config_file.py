"""`config.toml` names every setting there is, with its default and its unit, and nothing else."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

import main
from bot.models import ModelSettings
from bot.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "config.toml").read_text(encoding="utf-8")
SECTIONS = main.sections()
UNITS = (
    "true or false", "number of", "second", "MiB", "GiB", "megapixels", "pixels", "hours", "days", "port", "address",
    "0 to ", "URL", '"', "folder", "name", "SPDX", "list", "text around", "by the Hub's names",
)  # fmt: skip


def table_of(section):
    return tomllib.loads(TEXT)[section]


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_names_every_setting_with_its_default(section):
    kind = SECTIONS[section]

    assert table_of(section) == dataclasses.asdict(kind())
    assert list(table_of(section)) == [one.name for one in dataclasses.fields(kind)]


def test_nothing_else_is_in_it():
    assert set(tomllib.loads(TEXT)) == {*SECTIONS, "models"}


def test_one_model_shows_every_key_that_a_model_can_have():
    table = tomllib.loads(TEXT)["models"]["starter-image"]

    assert list(table) == [one.name for one in dataclasses.fields(ModelSettings)]


@pytest.mark.parametrize("line", [line for line in TEXT.splitlines() if " = " in line and not line.startswith("#")])
def test_each_setting_says_its_unit_or_what_it_may_be(line):
    _, _, comment = line.partition("  # ")

    assert any(unit in comment for unit in UNITS), line


def test_it_runs_as_shipped():
    settings = read_settings(SECTIONS, model_type=ModelSettings, files=[ROOT / "config.toml"], environ={})

    assert settings == {name: kind() for name, kind in SECTIONS.items()} | {"models": settings["models"]}
    assert list(settings["models"]) == ["starter-image", "starter-vision"]


@pytest.mark.parametrize("name", ["starter-image", "starter-vision"])
def test_the_starter_models_are_asked_as_they_say_themselves(name):
    says = ROOT / "models" / name / "easel.json"
    if not says.exists():
        pytest.skip("the starter models are not here")

    table = tomllib.loads(TEXT)["models"][name]
    wanted = {key: value for key, value in json.loads(says.read_text()).items() if key in table}
    assert {key: table[key] for key in wanted} == wanted


def test_tasks_of_the_starter_models_are_those_that_commands_ask_for():
    models = tomllib.loads(TEXT)["models"].values()

    tasks = {task for model in models for task in model["tasks"]}
    assert tasks == {"text-to-image", "image-to-image", "image-to-text", "visual-question-answering"}


def test_it_holds_no_secret():
    assert not re.search(r"token\s*=|secret\s*=|password\s*=", TEXT)
