"""`models use` with number formats: refused before a download, tried, kept in the settings, and changed in place."""

import tomllib
from dataclasses import replace

import pytest

from bot.errors import DownloadFailed, EngineError, InvalidOption, ModelRefused
from bot.models import TEXT_TO_IMAGE, ModelRegistry
from bot.usecases.number_formats import format_settings
from tests.bot.usecases import test_model_manager as manager_tests
from tests.bot.usecases.test_model_manager import PRESET, STARTER, finished
from tests.fakes import make_model

env = manager_tests.env
FORMATS = {"weights": "fp8", "precision": "bfloat16"}


def owners_table(env, name="fox"):
    return tomllib.loads(env.config.read_text())["models"][name] if env.config.exists() else {}


def formats_of(env, name="fox"):
    spec = env.models.find(name)
    return spec.quantize, spec.dtype


async def test_a_model_is_tried_in_the_formats_that_are_kept(env):
    installation = await finished(env, **FORMATS)

    assert installation.error == ""
    assert {(task.model.quantize, task.model.dtype) for task in env.device.tasks} == {("fp8", "bfloat16")}
    assert formats_of(env) == ("fp8", "bfloat16")
    assert {key: owners_table(env)[key] for key in ("quantize", "dtype")} == {"quantize": "fp8", "dtype": "bfloat16"}


async def test_an_installed_model_changes_its_formats_in_place_and_back(env):
    await finished(env)
    await finished(env, precision="bf16")
    assert formats_of(env) == ("auto", "bfloat16")
    assert "quantize" not in owners_table(env)

    await finished(env, weights="none", precision="auto")

    assert formats_of(env) == ("none", "auto")
    assert owners_table(env)["dtype"] == "auto"


async def test_a_format_whose_test_fails_changes_nothing(env):
    await finished(env)
    env.device.error = EngineError("the device has no such kernel")

    failed = await finished(env, **FORMATS)

    assert "no such kernel" in failed.error
    assert formats_of(env) == ("auto", "auto")
    assert not {"quantize", "dtype"} & owners_table(env).keys()


async def test_a_new_model_that_fails_can_be_used_again_in_another_format(env):
    added = replace(PRESET, name="owl", repo="/models/owl", licence="", steps=7)
    env.models.add_preset(added)
    env.device.error = EngineError("NaN")
    assert "NaN" in (await finished(env, "owl", precision="float16")).error
    assert env.models.find("owl") == added

    env.device.error = None
    assert (await finished(env, "owl", precision="float32")).error == ""
    assert (env.models.get("owl").steps, env.models.get("owl").dtype) == (7, "float32")


@pytest.mark.parametrize(
    ("formats", "change", "words"),
    [
        ({"weights": "4bit"}, {}, "needs a denoiser in 4 bits"),
        ({"weights": "8bit"}, {"has_torchao": False}, "install Easel with the extra `quant`"),
        ({"weights": "fp8"}, {"kind": "mps"}, "this device has no 8-bit floats"),
    ],
)
@pytest.mark.parametrize("name", ["fox", "starter"])
async def test_a_format_that_cannot_run_is_refused_before_anything_is_downloaded(
    env, monkeypatch, formats, change, words, name
):
    env.kind = change.get("kind", "cpu")
    monkeypatch.setattr("bot.memory.format_check.has_torchao", lambda: change.get("has_torchao", True))
    env.models.add_model(replace(STARTER, tasks=(TEXT_TO_IMAGE,)))

    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model(name, licence_accepted=True, **formats)

    assert (refused.value.problem, words in refused.value.detail) == ("weights", True)
    assert (env.hub.downloaded, env.device.tasks, owners_table(env)) == ([], [], {})
    assert env.owner_config.pending_installs() == []


async def test_what_is_stored_in_4_bits_may_be_used_so(env):
    env.models.add_preset(replace(PRESET, name="owl", repo="/models/owl", licence=""))
    env.manager.read_prequantized = lambda _model: ("gguf", "")

    assert (await finished(env, "owl", weights="4bit")).error == ""


@pytest.mark.parametrize("formats", [{"weights": "7bit"}, {"precision": "int8"}, {"weights": "\x1b[31m" * 99}])
async def test_unknown_formats_are_refused_by_name(env, formats):
    with pytest.raises(InvalidOption) as refused:
        await env.manager.use_model("fox", licence_accepted=True, **formats)

    assert refused.value.option in formats
    assert "auto" in refused.value.allowed
    assert "\x1b" not in str(refused.value.value)


async def test_the_estimate_is_that_of_the_format(env):
    env.models.add_preset(make_model(
        name="owl", enabled=False, repo="/owl", memory_mb=9000, components_mb={"transformer": 8000, "vae": 200}
    ))  # fmt: skip
    env.kind, env.ram_mb = "cuda", 20_000

    plain, cast = [await env.manager.get_terms("owl", weights=one) for one in ("none", "fp8")]

    assert (plain.fit.formats, cast.fit.formats) == (frozenset(), {"fp8"})


async def test_a_restart_resumes_with_the_formats(env):
    env.hub.go_on.clear()
    await env.manager.use_model("fox", licence_accepted=True, **FORMATS)
    await env.manager.close()
    env.models = ModelRegistry({"starter": STARTER, "fox": PRESET})
    env.hub.go_on.set()

    env.owner_config.restore_pending(env.models)
    env.manager = env.reopen()
    await env.manager.resume_installs()
    await env.manager.status("fox").task

    assert formats_of(env) == ("fp8", "bfloat16")
    assert owners_table(env)["quantize"] == "fp8"


async def test_an_installed_model_survives_that_its_change_cannot_be_resumed(env):
    installed = replace(PRESET, enabled=True)
    env.models = ModelRegistry({"starter": STARTER, "fox": installed})
    env.owner_config.set_pending_install("fox", [TEXT_TO_IMAGE], {"quantize": "fp8"})
    env.owner_config.restore_pending(env.models)
    env.manager = env.reopen()
    env.hub.errors["inspect_repo"] = DownloadFailed("org/fox", "not_found", url="http://hub/org/fox")

    await env.manager.resume_installs()

    assert env.models.get("fox") == installed
    assert env.owner_config.pending_installs() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"fox": ["text-to-image"]}', {}),
        ('{"fox": {"tasks": ["text-to-image"], "settings": {"quantize": "fp8", "repo": "/etc"}}}', {"quantize": "fp8"}),
        ('{"fox": {"tasks": ["text-to-image"], "settings": {"quantize": ["fp8"], "dtype": "int3"}}}', {}),
        ('{"fox": {"tasks": ["text-to-image"], "settings": 7}}', {}),
    ],
)
def test_interrupted_installations_are_read_from_older_and_edited_files(env, tmp_path, text, expected):
    (tmp_path / "arriving.json").write_text(text)

    (pending,) = env.owner_config.pending_installs()

    assert (pending.tasks, pending.settings) == ((TEXT_TO_IMAGE,), expected)


def test_short_names_are_no_change():
    assert format_settings(make_model(dtype="bf16"), "auto", "bfloat16") == {}


async def test_a_local_model_is_refused_before_a_hub_is_asked_for_its_other_components(env):
    env.models.add_preset(replace(PRESET, name="owl", repo="/models/owl.gguf", base_model="org/whole"))

    with pytest.raises(ModelRefused, match="weights"):
        await env.manager.use_model("owl", licence_accepted=True, weights="fp8")
    assert env.hub.inspected == []
