"""`upscale`: a picture at a multiple of its size.

Where a model takes that size, it refines the enlarged picture a little (image to image); else the picture is only
resized, which the result says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from bot.commands.base import Command
from bot.commands.imagine import Imagine
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import Picture
from bot.models import IMAGE_TO_IMAGE, Models, ModelSpec
from bot.options import OptionSpec

REFINE, RESIZE = "refine", "resize"
STRENGTH = 0.3
"""Low enough that a refined picture stays the one that it was."""
_KEPT = ("negative_prompt", "seed", "steps", "guidance_scale", "sampler", "model")
_OF_IMAGINE = {spec.name: spec for spec in Imagine.specs}


@dataclass(frozen=True, kw_only=True)
class Upscale(Command):
    """`size` is the picture's own, width and height; known once the picture was looked at."""

    name = "upscale"
    summary = N_("Make a picture larger")
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    specs = (
        replace(
            _OF_IMAGINE["prompt"], help=N_("What it shows; helps a model that refines"), is_required=False, default=""
        ),
        OptionSpec(name="scale", kind=int, help=N_("How many times as large"), minimum=2, maximum=4, default=2),
        OptionSpec(
            name="method",
            kind=str,
            help=N_("Refine with a model, or only resize; by what the model takes when not given"),
            choices=(REFINE, RESIZE),
        ),
        OptionSpec(
            name="strength",
            kind=float,
            help=N_("How far refining may go from the picture"),
            minimum=0.01,
            maximum=1,
            default=STRENGTH,
        ),
        *(_OF_IMAGINE[name] for name in _KEPT),
    )
    size: tuple[int, int] | None = None

    @property
    def task(self) -> str:
        return IMAGE_TO_IMAGE

    def seeing(self, pictures: Sequence[Picture]) -> Self:
        return replace(self, size=(pictures[0].width, pictures[0].height)) if pictures else self

    def choose_model(self, models: Models) -> ModelSpec:
        """One that can refine it, if there is any. To resize it takes none; the job still stands in one's queue."""
        wanted = self.values.get("model")
        if wanted and models.get(wanted) is None:
            raise InvalidOption("model", "choice", value=wanted, allowed=", ".join(spec.name for spec in models))
        able = [spec for spec in models if self.refines(spec) and wanted in (None, "", spec.name)]
        chosen = next(iter(able), None) or models.get(wanted or "") or next(iter(models), None)
        if chosen is None:
            raise InvalidOption("model", "no_model", value=self.name)
        return chosen

    def refines(self, model: ModelSpec) -> bool:
        """Whether the model takes a picture as large as this one will be."""
        sides = self._target() or (0, 0)
        return IMAGE_TO_IMAGE in model.tasks and all(
            model.min_size <= side <= model.max_size and side % model.size_multiple == 0 for side in sides
        )

    def _target(self) -> tuple[int, int] | None:
        scale = int(self.values.get("scale", 2))
        return (self.size[0] * scale, self.size[1] * scale) if self.size else None

    def fill(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        scale = int(self.values.get("scale", 2))
        width, height = self._target() or (model.width, model.height)
        if width * height > MAX_PIXELS:
            raise InvalidOption("scale", "range", value=scale, allowed=N_("less for a picture as large as this one"))
        method = self.values.get("method") or (REFINE if self.refines(model) else RESIZE)
        if method == REFINE and not self.refines(model):
            raise InvalidOption("method", "model_lacks", value=model.name)
        filled: dict[str, Any] = {"prompt": self.values.get("prompt", ""), "scale": scale, "method": method}
        if method == REFINE:
            filled |= self._refining(model, seed, width, height)
        return {**filled, "width": width, "height": height, "count": 1, "model": model.name}

    def _refining(self, model: ModelSpec, seed: int, width: int, height: int) -> dict[str, Any]:
        values = {name: value for name, value in self.values.items() if name in _KEPT and name != "model"}
        sized = {"prompt": self.values.get("prompt", ""), "width": width, "height": height}
        strength = self.values.get("strength", STRENGTH)
        imagine = Imagine(values={**values, **sized, "strength": strength}, images=self.images)
        return imagine.fill(model, seed)

    def steps_of(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        if options["method"] == RESIZE:
            return 0, 0.0, 1
        return Imagine(values={}).steps_of(options)


MAX_PIXELS = 16_000_000
"""What a picture of that size takes in memory is still bearable."""


def is_resize(command: str, options: Mapping[str, Any]) -> bool:
    """No model is needed for it."""
    return command == Upscale.name and options.get("method") == RESIZE
