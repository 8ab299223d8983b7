"""Scores the images of a worker's tasks for adult content. Runs in the child; imports no torch itself.

The classifiers are loaded with the first model that needs them, else with the first task that has rules. Of several,
the highest score counts. A check that fails ends its task; without a classifier, images are returned without a score,
and the parent decides who may see them.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bot.errors import Blocked
from bot.models import IMAGE_TASKS, ModelSpec
from bot.ports import Task
from bot.safety.policy import check_input_score
from inference.checkpoints.resolve import is_installed
from inference.ipc import child
from inference.ipc.messages import RawImage

if TYPE_CHECKING:
    from PIL import Image  # each worker process would import it before it reports that it is alive


class ImageScorer(Protocol):
    def __call__(self, image: "Image.Image") -> float:
        """The probability that an RGB image is sexual, 0 to 1."""


class SafetyChecker:
    """Checks the input and output images of one child's tasks.

    Args:
        classifiers: those that are configured; the installed ones are used.
        load_scorer: loads one; raises when it cannot be loaded.
    """

    def __init__(self, classifiers: Sequence[ModelSpec], load_scorer: Callable[[ModelSpec], ImageScorer]) -> None:
        self._classifiers = tuple(classifiers)
        self._load_scorer = load_scorer
        self._scorers: dict[str, ImageScorer] = {}
        self.has_imported = False
        """It has tried to load a classifier, which imports torch."""

    def load_for(self, model: ModelSpec) -> str:
        """Load the classifiers if the model needs them, with those that were installed since. Returns "ready",
        "missing" or "broken"; "": not needed."""
        return "" if model.demo or IMAGE_TASKS.isdisjoint(model.tasks) else self._load()

    def _load(self) -> str:
        for spec in self._classifiers:
            if spec.name in self._scorers or not is_installed(spec):
                continue
            self.has_imported = True
            try:
                self._scorers[spec.name] = self._load_scorer(spec)
            except Exception as error:  # the model itself remains usable by an admin
                self._scorers.clear()
                _warn("The safety classifier cannot be loaded", "classifier_broken", error)
                return "broken"
        return "ready" if self._scorers else "missing"

    def check_inputs(self, task: Task) -> float | None:
        """The least score of the task's images, which may show an input image again; None: there is none.

        Raises: Blocked: an input image is not allowed or could not be checked.
        """
        if task.rules is None:
            return None
        scores = self.score_inputs(task)
        for score in scores:
            check_input_score(task.rules, score)
        shown = [score for image, score in zip(task.images, scores, strict=True) if image.role != "mask"]
        return _highest(task.rules.input_score, *(shown if task.rules.keeps_inputs else ()))

    def score_inputs(self, task: Task) -> tuple[float | None, ...]:
        """One score for each image. Raises: Blocked: a check failed."""
        return tuple(self._score(partial(_open_views, image.media.data)) for image in task.images)

    def score_output(self, task: Task, image: RawImage, least: float | None = None) -> RawImage:
        """The image with its score; one that its own model blanked keeps that score. Raises: Blocked.

        `least`: see `check_inputs`; it does not make up for a check of the image itself.
        """
        if task.rules is None:
            return image
        score = _highest(image.nsfw, self._score(lambda: _pixel_views(image)))
        return replace(image, nsfw=None if score is None else _highest(score, least))

    def _score(self, open_views: Callable[[], Sequence["Image.Image"]]) -> float | None:
        """The highest score of any classifier for any of an image's views; None: there is no classifier.

        Raises: Blocked: the check failed.
        """
        state = "ready" if self._scorers else self._load()
        if state == "missing":
            return None
        try:
            if state == "broken":
                raise RuntimeError("the classifier is not loaded")
            scores = [float(score(view)) for view in open_views() for score in self._scorers.values()]
        except Exception as error:  # an image that cannot be checked is not shown
            _warn("An image could not be checked", "check_failed", error)
            raise Blocked("unchecked") from error
        if not all(0 <= score <= 1 for score in scores):  # also true of NaN
            raise Blocked("unchecked")
        return max(scores)


def _highest(*scores: float | None) -> float | None:
    return max((score for score in scores if score is not None), default=None)


def _warn(event: str, action: str, error: Exception) -> None:
    child.log("warning", event, action=action, error=repr(error)[:500])


def _pixel_views(raw: RawImage) -> list["Image.Image"]:
    from PIL import Image

    from inference.images.flatten import flatten

    size = (raw.width, raw.height)
    if len(raw.pixels) == 3 * raw.width * raw.height:
        return [Image.frombytes("RGB", size, raw.pixels)]
    image = Image.frombytes("RGBA", size, raw.pixels)
    return [flatten(image, background) for background in ("white", "black")]


def _open_views(data: bytes) -> list["Image.Image"]:
    """The image as people may see it: on white, as the models do, and if it is transparent, on black as well."""
    from PIL import Image

    from inference.images.flatten import flatten

    image: Any = Image.open(io.BytesIO(data))
    if image.mode != "RGB":
        image = image.convert("RGBA")
    is_opaque = image.mode == "RGB" or image.getextrema()[3][0] == 255
    return [flatten(image, one) for one in (("white",) if is_opaque else ("white", "black"))]
