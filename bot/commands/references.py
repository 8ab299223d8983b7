"""Reference pictures: which model can use them, by itself or through an IP-Adapter, and what they cost. Pure.

A reference's kind says what is taken from the picture: "style", "subject", or "" for whatever the model makes of it.
"""

from collections.abc import Iterator, Sequence

from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry, ModelSpec

ADAPTED_FAMILIES = frozenset({"", "starter", "sd15", "sd21", "sdxl"})
"""Families that IP-Adapters are for; "": not known before the model is first loaded."""
NATIVE_COST = 0.5
"""How much longer a step takes for each image that the model itself takes beside the first."""
ADAPTER_COST = 0.1
"""How much longer a step takes for each kind of reference through an IP-Adapter: its attention to the image tokens."""

_WHAT_TO_ADD = {
    "": N_(
        "No model here takes reference pictures. The owner can add one that does, such as FLUX.2 klein "
        "(`easel models use flux2-klein-4b`), or an IP-Adapter to the controls of a Stable Diffusion model."
    ),
    "style": N_(
        "No model here can take the style of a picture. The owner can add one that can, such as FLUX.2 klein "
        "(`easel models use flux2-klein-4b`), or an IP-Adapter as style to the controls of a Stable Diffusion model."
    ),
    "subject": N_(
        "No model here can take the subject of a picture. The owner can add one that can, such as FLUX.2 klein "
        "(`easel models use flux2-klein-4b`), or an IP-Adapter as subject to the controls of a Stable Diffusion model."
    ),
}


def takes_as_references(model: ModelSpec, images: Sequence[ImageRef]) -> bool:
    """Whether the model takes the references among these images itself; never together with a mask or a control."""
    roles = {image.role for image in images}
    return model.takes_references and "reference" in roles and not roles & {"mask", "control"}


def can_refer(model: ModelSpec, images: Sequence[ImageRef], task: str) -> bool:
    """Whether the model can do the task with the references among these images, by itself or through IP-Adapters."""
    if takes_as_references(model, images):
        return True
    is_adaptable = task in model.tasks and model.capabilities.get("family", "") in ADAPTED_FAMILIES
    return is_adaptable and all(model.adapter_kind(kind) for kind in _kinds_of(images))


def offers_reference(models: ModelRegistry, kind: str, task: str = TEXT_TO_IMAGE) -> bool:
    """Whether any model that is used unasked can use such a reference: only then is it offered."""
    return any(can_refer(model, (ImageRef("", "reference", kind=kind),), task) for model in _candidates(models, task))


def reference_model(
    models: ModelRegistry, images: Sequence[ImageRef], task: str, *, command: str, wanted: str | None = None
) -> ModelSpec:
    """The model for a request with references among its images.

    Args:
        task: what it would be without them.
        wanted: the model asked for, which exists; None: the task's default before others that can use them.

    Raises: InvalidOption: the model asked for cannot use them; NoModel: none can.
    """
    named = models.get(wanted) if wanted else None
    for model in [named] if named is not None else _candidates(models, task):
        if can_refer(model, images, task):
            return model
    lacking = next((kind for kind in _kinds_of(images) if kind), "")
    if named is not None:
        raise InvalidOption(lacking or "reference", "reference_lacks", value=named.name)
    raise NoModel(command, _WHAT_TO_ADD[lacking])


def _kinds_of(images: Sequence[ImageRef]) -> list[str]:
    """Kinds of the references, each once."""
    return list(dict.fromkeys(image.kind for image in images if image.role == "reference"))


def _candidates(models: ModelRegistry, task: str) -> Iterator[ModelSpec]:
    """Models that may be used unasked, the most suitable first."""
    for default in (models.default_for(task), models.default_for(IMAGE_TEXT_TO_IMAGE)):
        if default is not None:
            yield default
    yield from (model for model in models.installed() if not models.is_stand_in(model, task))


def reference_cost(images: Sequence[ImageRef], *, is_native: bool) -> float:
    """By how much these references lengthen each step; 1: not at all.

    `is_native`: the model takes them itself. A step of a job without references is not lengthened by those of others.
    """
    if is_native:
        return 1 + NATIVE_COST * max(0, len(images) - 1)
    return 1 + ADAPTER_COST * len(_kinds_of(images))


def check_native_references(images: Sequence[ImageRef], model: ModelSpec) -> None:
    """Raises: InvalidOption: the model takes fewer images itself, or no weights of them."""
    if not model.takes_references and all(model.adapter_kind(kind) for kind in _kinds_of(images)):
        images = [image for image in images if image.role != "reference"]
    if len(images) > model.max_images:
        raise InvalidOption("images", "too_many_images", value=len(images), allowed=str(model.max_images))
    if any(image.weight != 1 for image in images if image.role == "reference"):
        raise InvalidOption("weight", "model_lacks", value=model.name)
