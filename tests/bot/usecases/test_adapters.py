"""Adapters that were trained here: which one a request uses, switching, removing, and what is refused."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.error_texts import explain
from bot.errors import InvalidOption, ModelRefused
from bot.model_install.owner_config import ModelConfigFile
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry
from bot.ports import AdapterRecord, TaskAdapter
from bot.settings.overlay import Overlay
from bot.usecases.adapters import AdapterUseCases
from bot.usecases.recipes import GIVEN
from tests.fakes import make_job, make_model, make_origin

REVISION = "r" * 40
SHA256 = hashlib.sha256(b"weights").hexdigest()
VISION = make_model(name="seer", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), capabilities={"revision": REVISION})
PAINTER = make_model(name="painter", tasks=(TEXT_TO_IMAGE,), capabilities={"revision": REVISION})


class MemoryStore:
    """An `AdapterStore` in memory."""

    def __init__(self):
        self.records = {}

    async def save_adapter(self, adapter, examples):
        self.records[adapter.name] = adapter

    async def list_adapters(self):
        return [self.records[name] for name in sorted(self.records)]

    async def delete_adapter(self, name):
        return self.records.pop(name, None) is not None

    async def retire_adapters(self, corrections):
        self.records |= {name: replace(one, state="retired") for name, one in self.records.items()}
        return await self.list_adapters()


class SilentPool:
    def set_models(self, models):
        self.models = list(models)


def make_adapter(name, **changes):
    facts = {"kind": "vision", "model": "seer", "revision": REVISION, "sha256": "5" * 64, "state": "accepted"}
    return AdapterRecord(name=name, **{**facts, "report": {}, "created_at": datetime.now(UTC), **changes})


@pytest.fixture
async def adapters(tmp_path):
    """Two that can be used, and one for each reason why not; "style" is an image model's."""
    made = AdapterUseCases(
        store=MemoryStore(),
        models=ModelRegistry(
            {one.name: one for one in (VISION, PAINTER, make_model(name="other", tasks=VISION.tasks))}
        ),
        pool=SilentPool(),  # type: ignore[arg-type]
        owner_config=ModelConfigFile(tmp_path, dict),
        data_dir=tmp_path,
    )
    kinds: dict[str, dict[str, Any]] = {
        "birds": {},
        "mushrooms": {},
        "bad": {"state": "rejected"},
        "gone": {},
        "old": {"state": "retired"},
        "stale": {"revision": "another"},
        "style": {"kind": "image", "model": "painter", "sha256": SHA256, "report": {"words": "in ink", "family": ""}},
        "poor-style": {"kind": "image", "model": "painter", "state": "rejected"},
    }
    for name, changes in kinds.items():
        if name != "gone":
            (tmp_path / "adapters" / name).mkdir(parents=True)
            (tmp_path / "adapters" / name / "adapter_model.safetensors").write_bytes(b"weights")
        await made.save_adapter(make_adapter(name, **changes), [])
    return made


async def fill(adapters, given=None, model="seer", **options):
    spec = adapters.models.require(model)
    (filled,) = await adapters.fill_options([options], spec, given or {})
    return filled


async def refuse(work):
    with pytest.raises((InvalidOption, ModelRefused)) as refused:
        await work
    return explain(refused.value)


async def test_a_request_names_an_adapter_or_uses_the_models_or_none(adapters):
    named = await fill(adapters, {"adapter": "Birds"})
    plain = await fill(adapters)
    await adapters.use("seer", "mushrooms")
    default = await fill(adapters)
    none = await fill(adapters, {"adapter": "none"})
    await adapters.use("seer", "none")
    off = await fill(adapters)

    assert (named["adapter"], default["adapter"], none["adapter"]) == ("birds", "mushrooms", "none")
    assert plain == off == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("brids", "Did you mean birds? Adapters: birds, mushrooms, or none."),
        ("style", "There is no adapter"),
        ("bad", "did not pass its test"),
        ("old", "an example that somebody has withdrawn"),
        ("stale", "another revision of the model: leave adapter out; the owner can train it again."),
        ("gone", "are missing"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_a_sentence(adapters, name, said):
    assert said in await refuse(fill(adapters, {"adapter": name}))
    assert said in await refuse(adapters.use("seer", name))
    assert "this model has none" in await refuse(adapters.use("other", name))


async def test_switching_is_kept_in_the_owners_file(adapters, tmp_path):
    await adapters.use("seer", "birds")
    on = Overlay(tmp_path / "config.toml").model_tables()["seer"]["adapters"]
    known = adapters.models.require("seer").adapters
    in_pool = next(one for one in adapters.pool.models if one.name == "seer").adapters
    await adapters.use("seer", "none")
    off = Overlay(tmp_path / "config.toml").model_tables()["seer"]["adapters"]

    assert (list(on), known, in_pool) == (["birds"], ("birds",), ("birds",))
    assert (list(off), adapters.models.require("seer").adapters) == ([], ())
    assert "not installed" in await refuse(use_of_a_preset(adapters))


async def use_of_a_preset(adapters):
    adapters.models.add_preset(make_model(name="preset"))
    await adapters.use("preset", "none")


def accepted(name, given=None):
    origin = make_origin(extra={GIVEN: given} if given is not None else {})
    return make_job(task=IMAGE_TO_TEXT, options={"adapter": name}, origin=origin)


async def test_a_job_runs_with_the_adapter_that_it_was_accepted_with(adapters):
    expected = TaskAdapter("birds", "5" * 64, REVISION)
    seer = await adapters.use("seer", "birds")

    assert await adapters.adapter_for(accepted("birds", {}), seer) == (expected, "")
    assert await adapters.adapter_for(accepted("birds", {"adapter": "birds"}), seer) == (expected, "")
    assert await adapters.adapter_for(accepted("none", {}), seer) == (None, "")
    assert await adapters.adapter_for(accepted(None, {}), seer) == (None, "")


async def test_what_waits_runs_without_an_adapter_that_was_switched_off_and_says_so(adapters):
    await adapters.use("seer", "birds")
    seer = await adapters.use("seer", "none")
    adapter, note = await adapters.adapter_for(accepted("birds", {}), seer)
    asked, _ = await adapters.adapter_for(accepted("birds", {"adapter": "birds"}), seer)
    await adapters.retire_adapters(["a"])
    sentence = await refuse(adapters.adapter_for(accepted("birds", {"adapter": "birds"}), seer))

    assert adapter is None
    assert note.endswith("without it: birds")
    assert asked.name == "birds"
    assert "withdrawn" in sentence


async def test_a_retired_default_is_not_used_and_leaves_no_files(adapters, tmp_path):
    await adapters.use("seer", "birds")
    await adapters.retire_adapters(["a"])

    assert (await fill(adapters))["adapter"] is None
    assert not (tmp_path / "adapters" / "birds").exists()
    assert (tmp_path / "adapters" / "old").exists() is False
    assert [one.state for one in await adapters.list_adapters()] == ["retired"] * 8


async def test_an_image_adapter_is_a_lora_of_prompts(adapters):
    loras = adapters.list_loras()
    named = await fill(adapters, {"adapter": "style"}, "painter", prompt="a fox")
    await adapters.use("painter", "style")
    default = await fill(adapters, {}, "painter", prompt="a fox")
    weighed = await fill(adapters, {}, "painter", prompt="a fox <lora:style:0.4>")
    none = await fill(adapters, {"adapter": "none"}, "painter", prompt="a fox")

    assert [(one.name, one.trigger_words) for one in loras] == [("style", ("in ink",))]
    assert named == {"prompt": "a fox <lora:style:1>"}
    assert default["prompt"] == "a fox <lora:style:1>"
    assert weighed["prompt"] == "a fox <lora:style:0.4>"
    assert none == {"prompt": "a fox", "adapter": "none"}


async def test_removing_an_adapter_switches_it_off_and_frees_its_files(adapters, tmp_path):
    await adapters.use("seer", "birds")
    freed = await adapters.remove("Birds")

    assert freed == len(b"weights")
    assert not (tmp_path / "adapters" / "birds").exists()
    assert adapters.models.require("seer").adapters == ()
    assert "birds" not in [one.name for one in await adapters.list_adapters()]
    assert [await adapters.remove(name) for name in ("birds", "../adapters", "", ".", "gone")] == [None] * 4 + [0]


async def test_an_image_adapter_whose_file_was_changed_is_not_used(adapters, tmp_path):
    seen = await adapters.use("painter", "style")
    (tmp_path / "adapters" / "style" / "adapter_model.safetensors").write_bytes(b"other weights")

    assert adapters.list_loras() == []
    assert adapters.usable_names(seen) == []
    assert await fill(adapters, {}, "painter", prompt="a fox") == {"prompt": "a fox"}
    assert "not the one that passed the test" in await refuse(fill(adapters, {"adapter": "style"}, "painter"))


async def test_a_folder_without_weights_has_no_adapter(adapters, tmp_path):
    await adapters.use("seer", "birds")
    (tmp_path / "adapters" / "birds" / "adapter_model.safetensors").unlink()

    assert (await fill(adapters))["adapter"] is None
    assert "missing" in await refuse(fill(adapters, {"adapter": "birds"}))


async def test_files_of_a_retired_adapter_that_cannot_be_deleted_stop_nobody(adapters, monkeypatch):
    def fail(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bot.usecases.adapters.delete_adapter_files", fail)
    await adapters.use("seer", "birds")
    await adapters.retire_adapters(["a"])

    assert (await fill(adapters))["adapter"] is None
    assert "withdrawn" in await refuse(fill(adapters, {"adapter": "birds"}))
