"""Editing the owner's file keeps everything else in it."""

import tomllib

import pytest

from bot.errors import ConfigError
from bot.settings.overlay import Overlay

OWN = """\
# my bot
[web]
port = 9000  # behind the proxy

[models.mine]   # the one I like
tasks = ["text-to-image"]
repo = "/models/mine"

[quota]
daily_device_seconds = 60.0
"""


DOTTED = 'models.mine.repo = "x"\nmodels.mine.tasks = []\n'


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "config.toml"
    made.write_text(OWN)
    return made


def test_what_is_set_is_read_and_all_else_stays(path):
    overlay = Overlay(path)
    overlay.set_model("fox", {"enabled": True, "default_for": ("text-to-image",)})
    overlay.set_value("web", "host", "0.0.0.0")
    overlay.set_value("discord", "admins", ["1"])
    overlay.save()

    read = tomllib.loads(path.read_text())
    assert read["models"]["fox"] == {"enabled": True, "default_for": ["text-to-image"]}
    assert read["models"]["mine"]["repo"] == "/models/mine"
    assert (read["web"], read["discord"]) == ({"port": 9000, "host": "0.0.0.0"}, {"admins": ["1"]})
    assert "# my bot" in path.read_text()
    assert "# behind the proxy" in path.read_text()
    assert "# the one I like" in path.read_text()
    assert path.with_name("config.toml.bak").read_text() == OWN


def test_a_key_that_is_written_replaces_its_old_name(path):
    path.write_text("[models.mine]\nseen_mb = 10\nparts_mb = { unet = 1 }\nsteps = 3\n")
    overlay = Overlay(path)
    overlay.set_model(
        "mine", {"image_cache_mb": 20}, renamed={"seen_mb": "image_cache_mb", "parts_mb": "components_mb"}
    )
    overlay.save()

    mine = tomllib.loads(path.read_text())["models"]["mine"]
    assert mine == {"image_cache_mb": 20, "parts_mb": {"unet": 1}, "steps": 3}


def test_a_key_that_is_written_replaces_its_old_name_in_dotted_keys_too(path):
    path.write_text("models.mine.seen_mb = 10\nmodels.mine.steps = 3\n")
    overlay = Overlay(path)
    overlay.set_model("mine", {"image_cache_mb": 20}, renamed={"seen_mb": "image_cache_mb"})
    overlay.save()

    assert tomllib.loads(path.read_text())["models"]["mine"] == {"image_cache_mb": 20, "steps": 3}


def test_what_changes_nothing_writes_nothing(path):
    overlay = Overlay(path)
    overlay.set_value("web", "port", 9000)
    overlay.set_model("mine", {"repo": "/models/mine"})
    overlay.save()

    assert path.read_text() == OWN
    assert not path.with_name("config.toml.bak").exists()


def test_models_and_keys_are_removed(path):
    overlay = Overlay(path)
    overlay.remove_model("mine")
    overlay.remove_model("never there")
    overlay.remove_value("quota", "daily_device_seconds")
    overlay.save()

    read = tomllib.loads(path.read_text())
    assert read.get("models", {}) == {}
    assert read["quota"] == {}


@pytest.mark.parametrize("text", ["", "[models]\n", DOTTED, "models = {}\n"])
def test_other_ways_to_write_it_are_understood(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    overlay = Overlay(path)
    overlay.set_model("fox", {"enabled": True})
    overlay.save()

    before, after = tomllib.loads(text).get("models", {}), tomllib.loads(path.read_text())["models"]
    assert after == before | {"fox": {"enabled": True}}


def test_a_new_file_says_what_it_is(tmp_path):
    path = tmp_path / "sub" / "config.toml"
    overlay = Overlay(path)
    overlay.set_value("web", "port", 1)
    overlay.save()

    assert path.read_text().startswith("# Your own settings")
    assert (overlay.get_value("web", "port"), overlay.get_value("web", "host"), overlay.get_value("none", "x")) == (
        1,
        None,
        None,
    )


def test_a_file_that_is_not_toml_is_reported_and_left_unchanged(path):
    path.write_text("[web\nport=")

    with pytest.raises(ConfigError) as wrong:
        Overlay(path)
    assert str(path) in wrong.value.problems[0]
    assert path.read_text() == "[web\nport="


@pytest.mark.parametrize("first", ["mine", "fox"])
def test_several_changes_are_all_saved_in_every_notation(tmp_path, first):
    path = tmp_path / "config.toml"
    path.write_text(DOTTED)
    overlay = Overlay(path)
    for name in (first, "owl"):
        overlay.set_model(name, {"default_for": [name]})
    overlay.save()

    read = tomllib.loads(path.read_text())["models"]
    assert (read[first]["default_for"], read["owl"]["default_for"]) == ([first], ["owl"])
    assert read["mine"]["repo"] == "x"
