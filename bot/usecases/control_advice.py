"""What to do with the weights of a control that are added as if they were a model: which models they fit, and what to
write into their configuration."""

from collections.abc import Iterable, Mapping

from bot.errors import ModelRefused
from bot.models import IMAGE_TASKS, ModelSpec
from bot.ports import CheckpointInfo

IP_ADAPTER = "IPAdapter"
_TITLES: Mapping[str, str] = {
    "ControlNetModel": "ControlNet",
    "ControlNetUnionModel": "union ControlNet",
    "T2IAdapter": "T2I-Adapter",
    "ZImageControlNetModel": "ControlNet",
    IP_ADAPTER: "IP-Adapter",
}
_KIND_BY_WORD: Mapping[str, str] = {
    "canny": "canny", "lineart": "lineart", "scribble": "scribble", "sketch": "scribble", "hed": "scribble",
    "depth": "depth", "pose": "pose", "tile": "tile",
}  # fmt: skip
"""Kinds by words in the names of their files."""


def control_refusal(source: str, info: CheckpointInfo, models: Iterable[ModelSpec], file: str = "") -> ModelRefused:
    """The refusal that says which of the models the control fits and what to write for it."""
    title = _TITLES.get(info.class_name, info.class_name)
    described = f"{title} for {info.family}" if info.family else title
    fitting = [model.name for model in models if _may_fit(info, model)]
    if not fitting:
        return ModelRefused(source, "control_fits_none", detail=described)
    names = ", ".join(fitting)
    value = f'{{ repo = "{source}", file = "{file}" }}' if file else f'"{source}"'
    line = f"[models.{fitting[0]}.controls] {control_kind(source + file, info)} = {value}"
    return ModelRefused(source, "control", detail=f"{line} ({described}; models here: {names})")


def control_kind(name: str, info: CheckpointInfo) -> str:
    """The kind of control that a name speaks of; KIND where it speaks of none."""
    if info.class_name == IP_ADAPTER:
        return "style"
    words = name.rpartition("/")[2].casefold()
    return next((kind for word, kind in _KIND_BY_WORD.items() if word in words), "KIND")


def _may_fit(info: CheckpointInfo, model: ModelSpec) -> bool:
    """By the family that the model reported when it was loaded; one that was never loaded may fit."""
    family = model.capabilities.get("family")
    is_image_model = bool(IMAGE_TASKS & set(model.tasks))
    return is_image_model and (not info.family or not family or family == info.family)
