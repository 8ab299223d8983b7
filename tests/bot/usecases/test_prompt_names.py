"""Names to complete: bounded, read once, and with what the files' authors say."""

import json
import os
import struct
from itertools import count

import pytest

from bot.model_install.addon_metadata import AddonMetadata, read_addon_metadata
from bot.models import TEXT_TO_IMAGE, ModelRegistry
from bot.ports import PromptAddon
from bot.prompts.resolver import PromptResolver
from bot.prompts.wildcards import WildcardFolder
from bot.usecases import prompt_names
from bot.usecases.prompt_names import PromptNames
from tests.fakes import make_model

SD15 = make_model(name="sd15", tasks=(TEXT_TO_IMAGE,), capabilities={"family": "sd15"})
SDXL = make_model(name="sdxl", tasks=(TEXT_TO_IMAGE,), capabilities={"family": "sdxl"})
MODELS = ModelRegistry({"sd15": SD15, "sdxl": SDXL})


def write_weights(path, metadata=None):
    header = json.dumps({"__metadata__": metadata or {}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def addon(path, **overrides):
    return PromptAddon(
        **{"name": path.stem, "kind": "lora", "family": "sdxl", "size": 1, "path": str(path), **overrides}
    )


def names_of(tmp_path, addons=(), clock=lambda: 0.0):
    wildcards = WildcardFolder(tmp_path, clock=lambda: 0.0)
    return PromptNames(PromptResolver(wildcards=wildcards, list_addons=lambda: addons), MODELS, clock=clock)


async def test_a_lora_names_the_models_that_it_fits(tmp_path):
    loras = [addon(tmp_path / "ink.safetensors"), addon(tmp_path / "fur.safetensors", family="")]

    found, total = await names_of(tmp_path, loras).list_addons("ann")

    assert [(one.addon.name, one.models, one.weight) for one in found] == [
        ("ink", ["sdxl"], 1.0),
        ("fur", ["sd15", "sdxl"], 1.0),
    ]
    assert total == 2


async def test_what_is_not_read_in_time_is_read_at_the_next_request(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("one\ntwo")
    loras = [addon(write_weights(tmp_path / f"l{n}.safetensors", {"modelspec.title": f"L{n}"})) for n in range(2)]
    ticks = count()
    names = names_of(tmp_path, loras, clock=lambda: next(ticks) * 0.6)

    lines, titles = [], []
    for _ in range(3):
        found, _ = await names.list_wildcards("ann")
        lines.append([one.summary and one.summary.lines for one in found])
        named, _ = await names.list_addons("ann")
        titles.append([one.title for one in named])

    assert lines == [[2, None, None], [2, 2, None], [2, 2, 2]]
    assert titles == [["L0", "l1"], ["L0", "L1"], ["L0", "L1"]]


async def test_a_changed_file_is_read_again(tmp_path):
    path, file = tmp_path / "a.txt", write_weights(tmp_path / "ink.safetensors")
    path.write_text("one")
    names = names_of(tmp_path, [addon(file)])
    await names.list_wildcards("ann")
    await names.list_addons("ann")

    path.write_text("one\ntwo")
    os.utime(path, ns=(1, 1))
    file.with_suffix(".json").write_text('{"preferred weight": 0.5}')

    ((wildcard,), _), ((lora,), _) = await names.list_wildcards("ann"), await names.list_addons("ann")
    assert (wildcard.summary.lines, lora.weight) == (2, 0.5)


async def test_an_answer_has_only_so_many_names(tmp_path, monkeypatch):
    monkeypatch.setattr(prompt_names, "MAX_NAMES", 2)
    for number in range(5):
        (tmp_path / f"animal{number}.txt").write_text("fox")

    found, total = await names_of(tmp_path).list_wildcards("ann", "Animal")

    assert ([one.name for one in found], total) == (["animal0", "animal1"], 5)


@pytest.mark.parametrize(
    ("header", "web_ui", "civitai", "expected"),
    [
        ({}, None, None, AddonMetadata()),
        (
            {"ss_output_name": "ink_v2", "ss_base_model_version": "sdxl_base_v1-0", "modelspec.trigger_phrase": "inky"},
            {"activation text": "ink lines, inky", "preferred weight": 0.7, "sd version": "Unknown"},
            None,
            AddonMetadata(title="ink_v2", base_model="sdxl_base_v1-0", trigger_words=("inky", "ink lines"), weight=0.7),
        ),
        (
            {"ss_output_name": "ink_v2"},
            {"preferred weight": 0},
            {"trainedWords": ["inky", 7, "x" * 200], "baseModel": "SDXL 1.0", "model": {"name": "Ink\u202e lines"}},
            AddonMetadata(title="Ink lines", base_model="SDXL 1.0", trigger_words=("inky", "x" * 120)),
        ),
        ({}, [], {"model": 1, "trainedWords": "a", "baseModel": {}}, AddonMetadata()),
        ({}, {"preferred weight": 1e9, "activation text": 1}, {"trainedWords": [[]]}, AddonMetadata()),
    ],
)
def test_what_authors_say_is_read(tmp_path, header, web_ui, civitai, expected):
    path = write_weights(tmp_path / "ink.safetensors", header)
    if web_ui is not None:
        path.with_suffix(".json").write_text(json.dumps(web_ui))
    if civitai is not None:
        path.with_suffix(".civitai.info").write_text(json.dumps(civitai))

    assert read_addon_metadata(path) == expected


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, struct.pack("<Q", 2**40), struct.pack("<Q", 1) + b"{"])
def test_a_damaged_file_says_nothing(tmp_path, data):
    path = tmp_path / "ink.safetensors"
    path.write_bytes(data)
    path.with_suffix(".json").write_text("{" * 2000)

    assert read_addon_metadata(path) == AddonMetadata()
