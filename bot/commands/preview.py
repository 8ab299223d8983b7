"""`preview`: the control map or the region of a picture, to look at before anything is painted.

Its picture can be the `mask`, or a ready control, of the next request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.base import Answer, Command
from bot.commands.control_maps import DRAWN_KINDS, MAP_TASKS, choose_map_model
from bot.commands.imagine import MAX_ASPECT, fit_aspect
from bot.commands.region_words import MAX_LENGTH, NO_SEGMENTER, check_regions
from bot.commands.upscale import is_resize
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_, Translate
from bot.models import (
    CONTROL_KINDS,
    DEPTH_ESTIMATION,
    IMAGE_SEGMENTATION,
    IMAGE_TASKS,
    IMAGE_TEXT_TO_IMAGE,
    KEYPOINT_DETECTION,
    TEXT_TO_IMAGE,
    ModelRegistry,
    ModelSpec,
)
from bot.options import OptionSpec, find_nearest

REGION, CONTROL = "region", "control"


@dataclass(frozen=True, kw_only=True)
class Preview(Command):
    """Maps that need no model get the size that the model would draw; others, and regions, that of their picture."""

    name = "preview"
    summary = N_("Show the control map or the region of a picture, before anything is painted")
    unavailable = NO_SEGMENTER
    answers = Answer.IMAGES
    smoke_tests = (DEPTH_ESTIMATION, KEYPOINT_DETECTION)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"kind": "depth"}
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    keeps_author = True
    specs = (
        OptionSpec(
            name="region",
            kind=str,
            help=N_("Words for a part of the picture, or a kind of control map"),
            maximum=MAX_LENGTH,
            is_main=True,
        ),
        OptionSpec(name="kind", kind=str, help=N_("Kind of control map"), choices=CONTROL_KINDS),
        OptionSpec(
            name="what",
            kind=str,
            help=N_("A region or a control map (default: what the other options name)"),
            choices=(REGION, CONTROL),
            is_advanced=True,
        ),
        OptionSpec(name="model", kind=str, help=N_("Model (default: the first that supports this)"), maximum=60),
    )

    @property
    def kind(self) -> str:
        """The kind of map, also where it is given in place of words; "": a region."""
        words = self._words.casefold()
        is_named = self.values.get("what") != REGION and words in CONTROL_KINDS
        return str(self.values.get("kind") or (words if is_named else ""))

    @property
    def task(self) -> str:
        if self.kind in DRAWN_KINDS:
            return TEXT_TO_IMAGE
        return MAP_TASKS.get(self.kind, IMAGE_SEGMENTATION)

    @property
    def search_text(self) -> str:
        return self.kind or self._words

    @property
    def _words(self) -> str:
        return str(self.values.get("region") or "").strip()

    def _check_request(self) -> None:
        """Raises: InvalidOption: it names neither a region nor a kind of map, or both."""
        kinds, words, what = ", ".join(CONTROL_KINDS), self._words, self.values.get("what")
        if self.values.get("kind") and (what == REGION or words.casefold() not in ("", self.kind)):
            raise InvalidOption("kind", "preview_both")
        if self.kind:
            return
        if what == CONTROL:
            near = find_nearest(words, CONTROL_KINDS)
            problem = "choice" if words else "missing"
            raise InvalidOption("kind", problem, value=words, allowed=kinds, nearest=near[0] if near else "")
        if not words:
            raise InvalidOption("region", "preview_what", allowed=kinds)
        check_regions("region", words)

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """Of a map that needs no model, the one whose size it gets: a job always names one."""
        self._check_request()
        if self.kind in DRAWN_KINDS and not self.values.get("model"):
            return self._sizing_model(models)
        if self.kind in MAP_TASKS and not self.values.get("model"):
            return choose_map_model(self.kind, models, self.name)
        return super().choose_model(models)

    def _sizing_model(self, models: ModelRegistry) -> ModelSpec:
        able = [models.default_for(TEXT_TO_IMAGE), models.default_for(IMAGE_TEXT_TO_IMAGE), *models]
        chosen = next((spec for spec in able if spec is not None and IMAGE_TASKS & set(spec.tasks)), None)
        chosen = chosen or next(iter(models), None)
        if chosen is None:
            raise NoModel(self.name, N_("No installed model can do that yet; the owner can add one."))
        return chosen

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        if not self.kind:
            return {"what": REGION, "region": self._words, "model": model.name}
        filled = {"what": CONTROL, "kind": self.kind, "model": model.name}
        if self.kind in MAP_TASKS:
            return filled
        width, height = fit_aspect(model, min(MAX_ASPECT, max(1 / MAX_ASPECT, aspect or 1.0)), "aspect")
        return {**filled, "width": width, "height": height}

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        return (0 if needs_no_model(self.name, options) else 1), 0.0, 1


def needs_no_model(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the job runs through image tools alone: a plain resize, or a map that is only drawn."""
    return is_resize(command, options) or (command == Preview.name and options.get("kind") in DRAWN_KINDS)


def only_changes_images(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the result shows nothing that its input image does not: it is marked as generated only if that is."""
    return command == Preview.name or is_resize(command, options)


def describe_preview(options: Mapping[str, Any], translate: Translate) -> str:
    """The alt text of a preview."""
    if options.get("kind"):
        return translate("A {kind} map of the picture").format(kind=options["kind"])
    return translate("The region {region}, white on black").format(region=options.get("region", ""))
