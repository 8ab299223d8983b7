"""Settings as the composition root loads them, including old names."""

import dataclasses
import tomllib

import pytest

from adapters.cli.doctor.check import WARN
from adapters.cli.doctor.system import check_settings
from bot.errors import ConfigError
from bot.model_install.owner_config import ModelConfigFile
from bot.models import ModelSettings
from composition.settings import load_settings, settings_sections, shipped_models

OLD_NAMES = """\
[models.sd15-lcm]
seen_mb = 10
parts_mb = { unet = 1 }
work_mb = 2
decode_mb = 3
"""


@pytest.fixture
def old_config(tmp_path):
    (tmp_path / "config.toml").write_text(OLD_NAMES)
    return tmp_path / "config.toml"


def load(tmp_path, **variables):
    return load_settings(environ={"EASEL_DATA_DIR": str(tmp_path), **variables})


def test_an_owners_config_with_old_names_still_works(tmp_path, old_config):
    loaded = load(tmp_path)

    spec = loaded.models.find("sd15-lcm")
    assert (spec.image_cache_mb, spec.components_mb) == (10, {"unet": 1})
    assert (spec.activation_mb, spec.vae_decode_mb) == (2, 3)
    assert {one.source for one in loaded.renamed} == {str(old_config)}
    assert [one.new.rpartition(".")[2] for one in loaded.renamed] == [
        "image_cache_mb",
        "components_mb",
        "activation_mb",
        "vae_decode_mb",
    ]


def test_an_unknown_backend_is_refused_with_those_that_there_are(tmp_path):
    (tmp_path / "config.toml").write_text('[models.sd15-lcm]\nbackend = "tensorrt"\n')

    with pytest.raises(ConfigError, match="backend is “tensorrt”, but must be one of torch, openvino, onnx"):
        load(tmp_path)


def test_doctor_shows_the_old_name_and_the_new_one(tmp_path, old_config):
    warnings = [check.sentence for check in check_settings(load(tmp_path), ()) if check.mark == WARN]

    assert len(warnings) == 4
    assert f"{old_config}: models.sd15-lcm.seen_mb is now called models.sd15-lcm.image_cache_mb." in warnings[0]


def test_a_config_with_old_names_still_works_after_a_model_was_installed(tmp_path, old_config):
    ModelConfigFile(tmp_path, shipped_models).enable_model("sd15-lcm", {"enabled": True}, ["text-to-image"])

    assert load(tmp_path).models.get("sd15-lcm").image_cache_mb == 10


def test_installing_writes_new_names_in_place_of_old_ones(tmp_path, old_config):
    ModelConfigFile(tmp_path, shipped_models).enable_model(
        "sd15-lcm", {"components_mb": {"unet": 5}}, ["text-to-image"]
    )

    table = tomllib.loads(old_config.read_text())["models"]["sd15-lcm"]
    assert table["components_mb"] == {"unet": 5}
    assert "parts_mb" not in table
    assert load(tmp_path).models.find("sd15-lcm").components_mb == {"unet": 5}


def test_no_old_name_is_the_name_of_a_setting_today():
    for section in (*settings_sections().values(), ModelSettings):
        renamed = getattr(section, "renamed", {})
        names = {one.name for one in dataclasses.fields(section)}
        assert not names & renamed.keys()
        assert names >= set(renamed.values())


def test_the_shipped_config_has_no_old_names(tmp_path):
    assert load(tmp_path).renamed == ()
