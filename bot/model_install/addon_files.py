"""The LoRAs and textual inversions of the data directory, each with a JSON file that describes it.

An adopted one has only the JSON file, which names the place of its weights: they are never copied, changed or deleted.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.errors import ModelRefused, StorageFull
from bot.model_install.finite_weights import find_infinite_tensor
from bot.ports import PromptAddon

FOLDERS: Mapping[str, str] = {"lora": "loras", "inversion": "embeddings"}
SUFFIX = ".safetensors"
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_RESERVE_BYTES = 256 * 2**20
_MAX_FACTS = 2**20
"""Characters of a file that is read; a longer one counts as damaged."""


def list_addons(data_dir: Path) -> list[PromptAddon]:
    """By kind and name; without those whose file is gone."""
    return [addon for kind, folder in FOLDERS.items() for addon in _read_folder(data_dir / folder, kind)]


def has_addon(data_dir: Path, name: str) -> bool:
    return any(_read_addon(data_dir / folder, name, kind) is not None for kind, folder in FOLDERS.items())


def _read_folder(folder: Path, kind: str) -> Iterator[PromptAddon]:
    stems = {path.stem for suffix in (SUFFIX, ".json") for path in folder.glob(f"*{suffix}")}
    return filter(None, (_read_addon(folder, stem, kind) for stem in sorted(stems)))


def _read_addon(folder: Path, stem: str, kind: str) -> PromptAddon | None:
    """None: its file is gone."""
    facts = _read_facts(folder / f"{stem}.json")
    path = Path(_text(facts, "path")) if _text(facts, "path") else folder / f"{stem}{SUFFIX}"
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return None
    return PromptAddon(
        name=stem,
        kind=kind,
        family=_text(facts, "family"),
        size=size,
        path=str(path),
        spellings=_texts(facts, "spellings"),
        trigger_words=_texts(facts, "trigger_words"),
    )


def store_addon(data_dir: Path, source: Path, addon: PromptAddon, *, in_place: bool = False) -> PromptAddon:
    """Copy the file `source`, or with `in_place` only record where it is. Raises: ModelRefused, StorageFull."""
    folder = data_dir / FOLDERS[addon.kind]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{addon.name}{SUFFIX}"
    facts_path = target.with_suffix(".json")
    if _read_addon(folder, addon.name, addon.kind) is not None:
        raise ModelRefused(addon.name, "taken")
    size = source.stat().st_size
    facts = {
        "family": addon.family,
        "kind": addon.kind,
        "spellings": list(addon.spellings),
        "trigger_words": list(addon.trigger_words),
        "adapter_config": read_adapter_config(source),
    }
    if in_place:
        _write_facts(facts_path, {**facts, "path": str(source)})
        return replace(addon, size=size, path=str(source))
    if tensor := find_infinite_tensor(source):
        raise ModelRefused(addon.name, "addon", detail=f"has weights that are no numbers ({tensor[:120]})")
    free = shutil.disk_usage(folder).free
    if free < size + _RESERVE_BYTES:
        raise StorageFull(free_mb=free // 2**20, need_mb=(size + _RESERVE_BYTES) // 2**20)
    partial = target.with_suffix(".new")
    try:
        shutil.copyfile(source, partial)
        _write_facts(facts_path, facts)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return replace(addon, size=size, path=str(target))


def read_adapter_config(path: Path) -> Mapping[str, Any]:
    """PEFT's configuration of a LoRA's file: beside it, or kept when it was copied; empty if there is none."""
    if path.name == PEFT_WEIGHTS:
        return _read_facts(path.with_name(PEFT_CONFIG))
    kept = _read_facts(path.with_suffix(".json")).get("adapter_config")
    return kept if isinstance(kept, dict) else {}


def default_name(path: Path) -> str:
    """A file's stem; its folder's name if PEFT named the file."""
    return path.parent.name if path.name == PEFT_WEIGHTS else path.stem


def delete_addon(data_dir: Path, name: str) -> int | None:
    """The bytes freed; None if there is none of this name. An adopted file stays."""
    freed = None
    for folder in FOLDERS.values():
        for suffix in (SUFFIX, ".json"):
            path = data_dir / folder / f"{name}{suffix}"
            if path.is_file():
                freed = (freed or 0) + (path.stat().st_size if suffix == SUFFIX else 0)
                path.unlink()
    return freed


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".json-new")
    partial.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, path)


def _read_facts(path: Path) -> Mapping[str, Any]:
    """Empty if the file is missing or damaged."""
    try:
        with path.open(encoding="utf-8") as file:
            facts = json.loads(file.read(_MAX_FACTS))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return value if isinstance(value, str) else ""


def _texts(facts: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = facts.get(key)
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
