"""`upscale`: an image at a multiple of its size.

A model that supports the target size refines the enlarged image slightly (image to image); otherwise the image is only
resized, and the result says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from bot.commands.base import Answer, Command
from bot.commands.imagine import Imagine
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import StoredImage
from bot.models import IMAGE_TO_IMAGE, ModelRegistry, ModelSpec
from bot.options import OptionSpec

REFINE, RESIZE = "refine", "resize"
STRENGTH = 0.3
"""Denoising strength, low enough to keep the image recognisable."""
_SHARED_OPTIONS = ("negative_prompt", "seed", "steps", "guidance_scale", "sampler", "model")
_IMAGINE_SPECS = {spec.name: spec for spec in Imagine.specs}


@dataclass(frozen=True, kw_only=True)
class Upscale(Command):
    """`size`: width and height of the input image, once it has been measured."""

    name = "upscale"
    summary = N_("Make a picture larger")
    unavailable = N_("I can't upscale pictures here yet; the owner can add a model.")
    answers = Answer.IMAGES
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    specs = (
        replace(
            _IMAGINE_SPECS["prompt"],
            help=N_("What the picture shows; guides refinement"),
            is_required=False,
            default="",
        ),
        OptionSpec(name="scale", kind=int, help=N_("Scale factor"), minimum=2, maximum=4, default=2, is_advanced=True),
        OptionSpec(
            name="method",
            kind=str,
            help=N_("Refine with a model, or only resize (default: refine if a model supports the size)"),
            choices=(REFINE, RESIZE),
            is_advanced=True,
        ),
        OptionSpec(
            name="strength",
            kind=float,
            help=N_("Denoising strength of the refinement"),
            minimum=0.01,
            maximum=1,
            default=STRENGTH,
        ),
        *(_IMAGINE_SPECS[name] for name in _SHARED_OPTIONS),
    )
    size: tuple[int, int] | None = None

    @property
    def task(self) -> str:
        return IMAGE_TO_IMAGE

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        return replace(self, size=(pictures[0].width, pictures[0].height)) if pictures else self

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """A model that can refine at the target size, else any: resizing needs none, but a job always names one."""
        wanted = self.values.get("model")
        if wanted and models.get(wanted) is None:
            raise InvalidOption("model", "choice", value=wanted, allowed=", ".join(spec.name for spec in models))
        able = [spec for spec in models if self.can_refine(spec) and wanted in (None, "", spec.name)]
        chosen = next(iter(able), None) or models.get(wanted or "") or next(iter(models), None)
        if chosen is None:
            raise NoModel(self.name, self.unavailable)
        return chosen

    def can_refine(self, model: ModelSpec) -> bool:
        """Whether the model supports the target size."""
        sides = self._target_size() or (0, 0)
        return IMAGE_TO_IMAGE in model.tasks and all(
            model.min_size <= side <= model.max_size and side % model.size_multiple == 0 for side in sides
        )

    def _target_size(self) -> tuple[int, int] | None:
        scale = int(self.values.get("scale", 2))
        return (self.size[0] * scale, self.size[1] * scale) if self.size else None

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        scale = int(self.values.get("scale", 2))
        width, height = self._target_size() or (model.width, model.height)
        if width * height > MAX_PIXELS:
            raise InvalidOption("scale", "range", value=scale, allowed=N_("a smaller scale for a picture of this size"))
        method = self.values.get("method") or (REFINE if self.can_refine(model) else RESIZE)
        if method == REFINE and not self.can_refine(model):
            raise InvalidOption("method", "model_lacks", value=model.name)
        filled: dict[str, Any] = {"prompt": self.values.get("prompt", ""), "scale": scale, "method": method}
        if method == REFINE:
            filled |= self._refine_options(model, seed, width, height)
        return {**filled, "width": width, "height": height, "count": 1, "model": model.name}

    def _refine_options(self, model: ModelSpec, seed: int, width: int, height: int) -> dict[str, Any]:
        values = {name: value for name, value in self.values.items() if name in _SHARED_OPTIONS and name != "model"}
        sized = {"prompt": self.values.get("prompt", ""), "width": width, "height": height}
        strength = self.values.get("strength", STRENGTH)
        imagine = Imagine(values={**values, **sized, "strength": strength}, images=self.images)
        return imagine.fill_options(model, seed)

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        if options["method"] == RESIZE:
            return 0, 0.0, 1
        return Imagine(values={}).work_units(options)


MAX_PIXELS = 16_000_000
"""The largest image that is still affordable in memory."""


def is_resize(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the job needs no model."""
    return command == Upscale.name and options.get("method") == RESIZE
