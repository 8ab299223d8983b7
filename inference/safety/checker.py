"""What tells sexual pictures from others: whether it is here, and how a device's child looks with it. Imports no torch.

The classifier is loaded with the first model that needs it. A check that fails ends its task; where there is no
classifier at all, pictures go out without a score, and the parent knows whom they may be shown to.
"""

import asyncio
import io
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog
from PIL import Image

from bot.errors import Blocked, EaselError
from bot.models import PICTURE_TASKS, ModelSpec
from bot.ports import Task
from bot.safety.policy import require_fit
from inference.checkpoints.resolve import folder_of, require_safetensors
from inference.ipc.messages import RawPicture

_log = structlog.get_logger("inference")
LOOK_AGAIN_S = 5.0


def is_here(classifier: ModelSpec) -> bool:
    """Its files are, in the one form that may be loaded."""
    if not classifier.repo:
        return False
    try:
        require_safetensors(classifier, folder_of(classifier))
    except EaselError:
        return False
    return True


class ClassifierFiles:
    """`bot.ports.Classifier`: looked for again every few seconds."""

    def __init__(self, classifier: ModelSpec, now: Callable[[], float] = time.monotonic) -> None:
        self._classifier = classifier
        self._now = now
        self._seen = (-math.inf, False)

    async def is_here(self) -> bool:
        looked_at, found = self._seen
        if self._now() - looked_at > LOOK_AGAIN_S:
            found = await asyncio.to_thread(is_here, self._classifier)
            self._seen = (self._now(), found)
        return found


class Scores(Protocol):
    def __call__(self, image: Image.Image) -> float:
        """How likely it is that an RGB picture is sexual, 0 to 1."""


class Checker:
    """Looks at the pictures of one child's tasks.

    Args:
        classifier: where it is; None: there is none.
        load: makes a `Scores` of it; raises when it cannot be had.
    """

    def __init__(self, classifier: ModelSpec | None, load: Callable[[ModelSpec], Scores]) -> None:
        self._classifier = classifier
        self._load = load
        self._scores: Scores | None = None

    def prepare(self, model: ModelSpec) -> str:
        """Have the classifier ready for a model: "ready", "missing" or "broken"; "": the model needs none."""
        if model.demo or PICTURE_TASKS.isdisjoint(model.tasks):
            return ""
        if self._scores is not None:
            return "ready"
        if self._classifier is None or not is_here(self._classifier):
            return "missing"
        try:
            self._scores = self._load(self._classifier)
        except Exception as error:  # whatever is wrong with its files, the model itself may well be used by an admin
            _log.warning("The safety classifier cannot be loaded", action="classifier_broken", error=repr(error)[:500])
            return "broken"
        return "ready"

    def look_at_inputs(self, task: Task) -> None:
        """Raises: Blocked: a picture to start from is not to be worked on, or could not be looked at."""
        for given in task.images if task.rules else ():
            require_fit(task.rules, self._score(task, partial(_opened, given.media.data)))

    def checked(self, task: Task, picture: RawPicture) -> RawPicture:
        """The picture with its score; what its own model blanked is sexual anyhow. Raises: Blocked."""
        if task.rules is None:
            return picture
        size = (picture.width, picture.height)
        score = self._score(task, partial(Image.frombytes, "RGB", size, picture.pixels))
        known = [one for one in (picture.nsfw, score) if one is not None]
        return replace(picture, nsfw=max(known) if known else None)

    def _score(self, task: Task, image: Callable[[], Image.Image]) -> float | None:
        """None: there is no classifier. Raises: Blocked: it failed."""
        if (state := self.prepare(task.model)) == "missing":
            return None
        try:
            if state == "broken" or self._scores is None:
                raise RuntimeError("the classifier is not loaded")
            score = float(self._scores(image()))
        except Exception as error:  # what cannot be looked at is not shown
            _log.warning("A picture could not be checked", action="check_failed", error=repr(error)[:500])
            raise Blocked("unchecked") from error
        if not 0 <= score <= 1:  # and so for what is no number
            raise Blocked("unchecked")
        return score


def _opened(data: bytes) -> Image.Image:
    """On white, as the models see it."""
    image: Any = Image.open(io.BytesIO(data))
    if image.mode == "RGB":
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
