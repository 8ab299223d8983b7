"""What the author of a LoRA or a textual inversion says about it: in its file's header, or in a file beside it.

Trainers write `ss_...` (kohya's sd-scripts) and `modelspec...` (Stability's model spec) into the header; A1111 keeps
`NAME.json` beside the file, and its Civitai extensions `NAME.civitai.info`. All of it is untrusted.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.model_install.model_headers import DamagedModelFile, read_metadata
from bot.options import clean_excerpt

MAX_WORDS = 20
MAX_TEXT = 120
"""Characters of a title, a base model or a trigger word."""
_MAX_FACTS = 2**20
_WEIGHTS = (-2.0, 2.0)
_TITLES = ("modelspec.title", "ss_output_name")
_BASES = ("ss_base_model_version", "modelspec.architecture", "ss_sd_model_name")


@dataclass(frozen=True, kw_only=True)
class AddonMetadata:
    """Empty where the author says nothing. `weight`: the recommended one."""

    title: str = ""
    base_model: str = ""
    trigger_words: tuple[str, ...] = ()
    weight: float | None = None


def read_addon_metadata(path: Path) -> AddonMetadata:
    """Of a safetensors file. What is missing or damaged is left out."""
    header, web_ui, civitai = _read_header(path), _read_facts(path, ".json"), _read_facts(path, ".civitai.info")
    model = civitai.get("model")
    titles = [model.get("name") if isinstance(model, dict) else None, *(header.get(name) for name in _TITLES)]
    bases = [civitai.get("baseModel"), *(header.get(name) for name in _BASES), web_ui.get("sd version")]
    trained = civitai.get("trainedWords")
    words = [*(trained if isinstance(trained, list) else ()), header.get("modelspec.trigger_phrase")]
    words += _split(web_ui.get("activation text"))
    return AddonMetadata(
        title=next(_texts(titles), ""),
        base_model=next(_texts(bases), ""),
        trigger_words=tuple(dict.fromkeys(_texts(words[: 2 * MAX_WORDS])))[:MAX_WORDS],
        weight=_weight(web_ui.get("preferred weight")),
    )


def find_sources(path: Path) -> list[Path]:
    """The files that `read_addon_metadata` reads."""
    return [path, path.with_suffix(".json"), path.with_suffix(".civitai.info")]


def _read_header(path: Path) -> Mapping[str, str]:
    try:
        return read_metadata(path)
    except (DamagedModelFile, OSError):
        return {}


def _read_facts(path: Path, suffix: str) -> Mapping[str, Any]:
    try:
        with path.with_suffix(suffix).open(encoding="utf-8-sig") as file:
            facts = json.loads(file.read(_MAX_FACTS))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _texts(values: Iterable[object]) -> Iterator[str]:
    cleaned = (clean_excerpt(value, MAX_TEXT) for value in values if isinstance(value, str))
    return (text for text in cleaned if text and text != "Unknown")


def _split(text: object) -> list[str]:
    return text[:_MAX_FACTS].split(",", MAX_WORDS) if isinstance(text, str) else []


def _weight(value: object) -> float | None:
    """A1111 writes 0 where none is set."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value:
        return None
    return float(value) if _WEIGHTS[0] <= value <= _WEIGHTS[1] else None
