"""`edit`: change a picture as an instruction says, with a model that takes both, and perhaps pictures to refer to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bot.commands.imagine import Imagine
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from bot.options import OptionSpec

_PROMPT, *_OTHERS = (spec for spec in Imagine.specs if spec.name != "strength")


@dataclass(frozen=True, kw_only=True)
class Edit(Imagine):
    name = "edit"
    summary = N_("Change a picture as you say")
    roles: ClassVar[tuple[str, ...]] = ("init", "reference")
    images_needed = 1
    images_allowed = 4
    has_mask = False
    specs = (
        replace(_PROMPT, help=N_("What to change"), flags=("instruction",)),
        *_OTHERS,
        OptionSpec(
            name="image_guidance_scale",
            kind=float,
            help=N_("How closely to keep to the picture; the model's own when not given"),
            flags=("image_guidance",),
            minimum=1,
            maximum=5,
        ),
    )

    @property
    def task(self) -> str:
        return IMAGE_TEXT_TO_IMAGE

    @classmethod
    def _check_images(cls, images: Sequence[ImageRef], is_album: bool) -> tuple[ImageRef, ...]:
        """The first that is called so, else the first, is changed and leads; the others are referred to."""
        checked = super()._check_images(images, is_album)
        first = next((number for number, image in enumerate(checked) if image.role == "init"), 0)
        others = (image for number, image in enumerate(checked) if number != first)
        return (replace(checked[first], role="init"), *(replace(image, role="reference") for image in others))

    def fill(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        if len(self.images) > model.max_images:
            raise InvalidOption("images", "too_many_images", value=len(self.images), allowed=str(model.max_images))
        filled = super().fill(model, seed, aspect)
        del filled["strength"]
        if self.values.get("image_guidance_scale") is not None:
            filled["image_guidance_scale"] = self.values["image_guidance_scale"]
        return filled

    def steps_of(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        """Each further picture makes a step about half as long again as one with a single picture."""
        further = max(0, len(self.images) - 1)
        area = options["width"] * options["height"] * (1 + further / 2)
        return int(options["steps"]), float(area), int(options["count"])
