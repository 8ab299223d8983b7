"""`edit`: change a picture as an instruction says, with a model that takes both."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.commands.imagine import Imagine
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from bot.options import OptionSpec
from bot.sentences import N_

_PROMPT, *_OTHERS = (spec for spec in Imagine.specs if spec.name != "strength")


@dataclass(frozen=True, kw_only=True)
class Edit(Imagine):
    name = "edit"
    summary = N_("Change a picture as you say")
    images_needed = 1
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

    def fill(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        filled = super().fill(model, seed, aspect)
        del filled["strength"]
        if self.values.get("image_guidance_scale") is not None:
            filled["image_guidance_scale"] = self.values["image_guidance_scale"]
        return filled

    def steps_of(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return int(options["steps"]), float(options["width"] * options["height"]), int(options["count"])
