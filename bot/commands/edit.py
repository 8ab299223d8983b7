"""`edit`: edits an image by instruction, with optional reference images; of a part, only that changes.

Where no model that edits by instruction is the default, a part is repainted by an ordinary model instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bot.commands.base import Command
from bot.commands.best_of import share_steps
from bot.commands.imagine import Imagine
from bot.commands.imagine_options import CONTROLLING
from bot.commands.inpainting import NAME_A_REGION, repaints_part
from bot.commands.references import check_native_references, reference_cost, takes_as_references
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import IMAGE_SEGMENTATION, IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, ModelRegistry, ModelSpec
from bot.options import OptionSpec

IMAGE_GUIDANCE = "image_guidance_scale"
_KEPT = {"region", "keep", "inpaint_area", "adapter"}
_LEFT_OUT = frozenset({"strength", "best", *(spec.name for spec in CONTROLLING)} - _KEPT)
_PROMPT, *_OTHER_SPECS = (spec for spec in Imagine.specs if spec.name not in _LEFT_OUT)


@dataclass(frozen=True, kw_only=True)
class Edit(Imagine):
    name = "edit"
    summary = N_("Edit a picture by instruction")
    unavailable = N_("I can't edit pictures here yet; the owner can add a model.")
    smoke_tests = (IMAGE_TEXT_TO_IMAGE,)
    roles: ClassVar[tuple[str, ...]] = ("init", "reference", "mask")
    images_needed = 1
    images_allowed = 4
    further_images: ClassVar[Mapping[str, int]] = {"mask": 1}
    specs = (
        replace(_PROMPT, help=N_("What to change"), aliases=("instruction",)),
        *_OTHER_SPECS,
        OptionSpec(
            name=IMAGE_GUIDANCE,
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

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """An ordinary model for a part, if it is asked for or no other is a default."""
        wanted = self.values.get("model")
        model = models.get(wanted) if wanted else models.default_for(IMAGE_TEXT_TO_IMAGE)
        if repaints_part(self.values, self.images) and (self.is_inpainting(model) if model else not wanted):
            return self.to_inpainting().choose_model(models)
        can_name = models.default_for(IMAGE_SEGMENTATION) and models.default_for(IMAGE_TO_IMAGE)
        if can_name and not models.names_for(IMAGE_TEXT_TO_IMAGE):
            raise NoModel(self.name, NAME_A_REGION)
        return super().choose_model(models)

    def is_inpainting(self, model: ModelSpec) -> bool:
        """Whether the model cannot edit by instruction, but can repaint a part."""
        return IMAGE_TEXT_TO_IMAGE not in model.tasks and IMAGE_TO_IMAGE in model.tasks

    def to_inpainting(self) -> Imagine:
        values = {name: value for name, value in self.values.items() if name != IMAGE_GUIDANCE}
        return Imagine(values=values, images=self.images)

    def _check_guidance(self, model: ModelSpec) -> None:
        if self.values.get(IMAGE_GUIDANCE) is not None and not takes_image_guidance(model):
            raise InvalidOption(IMAGE_GUIDANCE, "model_lacks", value=model.name)

    @property
    def _pictures(self) -> list[ImageRef]:
        return [image for image in self.images if image.role != "mask"]

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        self._check_guidance(model)
        check_native_references(self._pictures, model)
        filled = super().fill_options(model, seed, aspect)
        del filled["strength"]
        if self.values.get(IMAGE_GUIDANCE) is not None:
            filled[IMAGE_GUIDANCE] = self.values[IMAGE_GUIDANCE]
        return filled

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        area = options["width"] * options["height"] * reference_cost(self._pictures, is_native=True)
        count, steps = share_steps(options, int(options["steps"]))
        return steps, float(area), count


def takes_image_guidance(model: ModelSpec) -> bool:
    """Whether an edit's image guidance changes anything; of a model that was never loaded, it may."""
    known = model.capabilities.get("options", (IMAGE_GUIDANCE,))
    return IMAGE_TEXT_TO_IMAGE in model.tasks and model.takes_guidance and IMAGE_GUIDANCE in known


def adapt_to_model(command: Command, model: ModelSpec) -> Command:
    """What an `imagine` becomes whose model takes its images as references itself, and an edit whose model cannot
    follow instructions. Raises: InvalidOption."""
    if isinstance(command, Edit) and command.is_inpainting(model):
        command._check_guidance(model)
        return command.to_inpainting()
    if not isinstance(command, Imagine) or command.task == IMAGE_TEXT_TO_IMAGE:
        return command
    if not takes_as_references(model, command.images) and not command.needs_references(model):
        return command
    command.check_reference(model)
    if command.images_of("init"):
        return Edit(values=command.values, images=command.images)
    return replace(command, is_native=True)
