"""The base of `zoom`, `pan` and `square`: a canvas around a picture, of which the new part is painted."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from bot.commands.canvas import Canvas, Size, plan_canvas
from bot.commands.imagine import MAX_ASPECT, Imagine
from bot.commands.imagine_options import DRAWING
from bot.commands.inpainting import MASKED
from bot.commands.upscale import MAX_PIXELS
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import StoredImage
from bot.models import IMAGE_TO_IMAGE, ModelSpec

STRENGTH, DEMO_STRENGTH = 0.8, 0.5
"""Default denoising strengths. What is painted starts from the picture's edges, continued: from noise alone, models
tend to repeat the subject there, and demo models do so from less."""
_LEFT_OUT = frozenset({"prompt", "strength", "size", "aspect", "width", "height"})
_SPECS = {spec.name: spec for spec in DRAWING}
SHARED = (
    replace(
        _SPECS["prompt"],
        help=N_("What the whole picture shows (default: a caption of it)"),
        is_required=False,
        default="",
    ),
    *(spec for spec in DRAWING if spec.name not in _LEFT_OUT),
    replace(
        _SPECS["strength"],
        help=N_("Denoising strength, 0 to 1: how much to change the picture's edges, continued"),
        default=STRENGTH,
        is_advanced=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outpaint(Imagine):
    """`measured`: width and height of the picture, once it has been measured."""

    unavailable = N_("I can't paint around pictures here yet; the owner can add a model.")
    smoke_tests = ()
    smoke_test_values: ClassVar[Mapping[str, Any]] = {}
    roles: ClassVar[tuple[str, ...]] = ("init",)
    images_needed = 1
    images_allowed = 1
    further_images: ClassVar[Mapping[str, int]] = {}
    keeps_author = True
    measured: Size | None = None

    @property
    def task(self) -> str:
        return IMAGE_TO_IMAGE

    def __post_init__(self) -> None:
        super().__post_init__()
        own, prompt = self._read_short(str(self.values.get("prompt") or ""))
        if own and not any(name in self.values for name in own):
            rest = {name: value for name, value in self.values.items() if name != "prompt"}
            object.__setattr__(self, "values", {**rest, **({"prompt": prompt} if prompt else {}), **own})

    def _read_short(self, text: str) -> tuple[dict[str, Any], str]:
        """The options that stand before or in place of a prompt, as in `/pan left a beach`, and the prompt.

        Raises: InvalidOption.
        """
        return {}, text

    @abstractmethod
    def _own_options(self) -> dict[str, Any]:
        """The options that say where the canvas grows, with their values."""

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        return replace(self, measured=(pictures[0].width, pictures[0].height)) if pictures else self

    def needs_references(self, model: ModelSpec) -> bool:
        return False

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        own = self._own_options()
        canvas = self._check_canvas(plan_canvas(self.name, own, self.measured or (model.width, model.height)))
        command = replace(self, values={"prompt": "", **self.values})
        filled = super(Outpaint, command).fill_options(model, seed, canvas.width / canvas.height)
        return {
            **filled,
            **own,
            "strength": self.values.get("strength", DEMO_STRENGTH if model.demo else STRENGTH),
            "inpaint_area": MASKED,
        }

    def _check_canvas(self, canvas: Canvas) -> Canvas:
        """Raises: InvalidOption: nothing is left to paint, or the canvas is too large or too long."""
        problem = _find_problem(canvas) if self.measured is not None else ""
        if problem:
            raise InvalidOption(self.name, problem, value=f"{canvas.width}x{canvas.height}")
        return canvas


def can_outpaint(command: str, options: Mapping[str, Any], size: Size) -> bool:
    """Whether one of the commands is possible for a picture of this size, width and height."""
    return not _find_problem(plan_canvas(command, options, size))


def _find_problem(canvas: Canvas) -> str:
    """Of an `InvalidOption`; empty: there is none."""
    if canvas.is_full:
        return "canvas_full" if canvas.width == canvas.height > 1 else "canvas_small"
    ratio = max(canvas.width / canvas.height, canvas.height / canvas.width)
    return "canvas_size" if ratio > MAX_ASPECT or canvas.width * canvas.height > MAX_PIXELS else ""
