"""`config.toml` names every setting there is, with its default and its unit, and nothing else."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from bot.models import ModelSettings
from bot.prompts.styles import NAMED_SECTIONS
from bot.settings import read_settings
from composition.settings import settings_sections

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "config.toml").read_text(encoding="utf-8")
SECTIONS = settings_sections()
UNITS = (
    "true or false", "number of", "second", "MiB", "GiB", "megapixels", "pixels", "hours", "days", "port", "address",
    "0 to ", "0.5 to ", "-5 to ", "URL", '"', "folder", "name", "SPDX", "list", "text around", "by the Hub's names",
)  # fmt: skip


def read_shipped():
    return read_settings(
        SECTIONS, model_type=ModelSettings, named=NAMED_SECTIONS, files=[ROOT / "config.toml"], environ={}
    )


def table_of(section):
    return tomllib.loads(TEXT)[section]


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_names_every_setting_with_its_default(section):
    kind = SECTIONS[section]

    assert table_of(section) == json.loads(json.dumps(dataclasses.asdict(kind())))
    assert list(table_of(section)) == [one.name for one in dataclasses.fields(kind)]


def test_nothing_else_is_in_it():
    assert set(tomllib.loads(TEXT)) == {*SECTIONS, "models", *NAMED_SECTIONS}


def test_one_model_shows_every_key_that_a_model_can_have():
    table = tomllib.loads(TEXT)["models"]["starter-image"]

    assert list(table) == [one.name for one in dataclasses.fields(ModelSettings)]


EXPLAINED, _, PRESETS = TEXT.partition("# Presets: ")


STARTERS = ["starter-image", "starter-vision", "starter-match", "starter-segment", "starter-upscale"]


@pytest.mark.parametrize(
    "line", [line for line in EXPLAINED.splitlines() if " = " in line and not line.startswith("#")]
)
def test_each_setting_says_its_unit_or_what_it_may_be(line):
    _, _, comment = line.partition("  # ")

    assert any(unit in comment for unit in UNITS), line


def test_it_runs_as_shipped():
    settings = read_shipped()

    named = {name: settings[name] for name in ("models", *NAMED_SECTIONS)}
    assert settings == {name: kind() for name, kind in SECTIONS.items()} | named
    assert [name for name, one in settings["models"].items() if one.enabled] == STARTERS


@pytest.mark.parametrize("name", STARTERS)
def test_the_starter_models_are_asked_as_they_say_themselves(name):
    says = ROOT / "models" / name / "easel.json"
    if not says.exists():
        pytest.skip("the starter models are not here")

    table = tomllib.loads(TEXT)["models"][name]
    wanted = {key: value for key, value in json.loads(says.read_text()).items() if key in table}
    assert {key: table[key] for key in wanted} == wanted


def test_tasks_of_the_starter_models_are_those_that_commands_ask_for():
    models = tomllib.loads(EXPLAINED)["models"].values()

    tasks = {task for model in models for task in model["tasks"]}
    seeing = {"image-to-text", "visual-question-answering", "zero-shot-image-classification"}
    assert tasks == {"text-to-image", "image-to-image", "image-segmentation", "image-upscaling"} | seeing


@pytest.mark.parametrize("name", tomllib.loads("#" + PRESETS)["models"])
def test_a_preset_says_what_it_takes_and_under_which_licence(name):
    preset = read_shipped()["models"][name]

    assert not preset.enabled
    assert preset.title
    assert preset.licence
    assert preset.licence_url == f"https://huggingface.co/{preset.repo}"
    assert 0 < max(preset.components_mb.values()) < preset.memory_mb
    assert min(preset.download_mb, preset.ram_mb, preset.step_s, preset.cpu_step_s) > 0
    if "text-to-image" in preset.tasks:
        assert preset.steps <= preset.max_steps
        assert preset.width % preset.size_multiple == preset.height % preset.size_multiple == 0
        assert (
            preset.min_size <= min(preset.width, preset.height) <= max(preset.width, preset.height) <= preset.max_size
        )


def test_what_may_not_be_sold_is_marked():
    presets = tomllib.loads("#" + PRESETS)["models"].items()

    klein = ["flux2-klein-9b", "flux2-klein-9b-kv"]
    qwen = ["qwen-image-2-1", "qwen-image-edit-2511"]
    opt = ["blip2-opt-2-7b-coco", "blip2-opt-2-7b"]
    expected = [*klein, *qwen, "sdxl-turbo", "sd-turbo", *opt]
    assert [name for name, one in presets if not one.get("commercial", True)] == expected


def test_it_holds_no_secret():
    """`web.metrics_token` is empty here, and docs/running.md says to set it by its variable."""
    assert not re.search(r"(token|secret|password)\s*=(?!\s*\"\")", TEXT)
