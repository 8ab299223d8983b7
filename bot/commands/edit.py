"""`edit`: edits an image by instruction, with optional reference images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bot.commands.base import Command
from bot.commands.imagine import Imagine
from bot.commands.imagine_options import CONTROLLING
from bot.commands.references import check_native_references, reference_cost, takes_as_references
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from bot.options import OptionSpec

_LEFT_OUT = frozenset({"strength", *(spec.name for spec in CONTROLLING)} - {"region", "keep"})
_PROMPT, *_OTHER_SPECS = (spec for spec in Imagine.specs if spec.name not in _LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class Edit(Imagine):
    name = "edit"
    summary = N_("Edit a picture by instruction")
    unavailable = N_("I can't edit pictures here yet; the owner can add a model.")
    smoke_tests = (IMAGE_TEXT_TO_IMAGE,)
    roles: ClassVar[tuple[str, ...]] = ("init", "reference")
    images_needed = 1
    images_allowed = 4
    further_images: ClassVar[Mapping[str, int]] = {}
    specs = (
        replace(_PROMPT, help=N_("What to change"), aliases=("instruction",)),
        *_OTHER_SPECS,
        OptionSpec(
            name="image_guidance_scale",
            kind=float,
            help=N_("Image guidance scale: how closely to follow the input image (default: the model's)"),
            aliases=("image_guidance",),
            minimum=1,
            maximum=5,
            is_advanced=True,
        ),
    )

    @property
    def task(self) -> str:
        return IMAGE_TEXT_TO_IMAGE

    @classmethod
    def _check_images(cls, images: Sequence[ImageRef], is_album: bool) -> tuple[ImageRef, ...]:
        """The first with the role "init", else the first reference, is edited; the others become references."""
        checked = super()._check_images(images, is_album)
        pictures = [image for image in checked if image.role in ("init", "reference")]
        first = next((number for number, image in enumerate(pictures) if image.role == "init"), 0)
        edited = pictures.pop(first)
        others = (replace(image, role="reference") for image in pictures)
        further = (image for image in checked if image.role in cls.further_images)
        return (ImageRef(edited.id, "init", edited.author, edited.is_foreign), *others, *further)

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        check_native_references(self.images, model)
        filled = super().fill_options(model, seed, aspect)
        del filled["strength"]
        if self.values.get("image_guidance_scale") is not None:
            filled["image_guidance_scale"] = self.values["image_guidance_scale"]
        return filled

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        area = options["width"] * options["height"] * reference_cost(self.images, is_native=True)
        return int(options["steps"]), float(area), int(options["count"])


def adapt_to_model(command: Command, model: ModelSpec) -> Command:
    """What an `imagine` becomes whose model takes its images as references itself. Raises: InvalidOption."""
    if not isinstance(command, Imagine) or command.task == IMAGE_TEXT_TO_IMAGE:
        return command
    if not takes_as_references(model, command.images) and not command.needs_references(model):
        return command
    command.check_reference(model)
    if command.images_of("init"):
        return Edit(values=command.values, images=command.images)
    return replace(command, is_native=True)
