"""Best of n: how many pictures are begun, when those that match least are dropped, and which model judges. Pure.

Up to `MAX_FINISHED` pictures are all finished. Of more, those that match least are dropped after some of the steps, by
what the denoiser expects each to become: the others have the seconds that they would have taken.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import BY_BOT, ImageRef
from bot.models import VISUAL_QUESTION_ANSWERING, ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec

MAX_BEST = 8
MAX_FINISHED = 4
ROUND_SHARES = (0.3, 0.6)
"""Of a picture's steps, after which pictures are judged and half of them are dropped. Source:
`training.evaluate_best`."""
NO_JUDGE = N_(
    "I can't compare pictures with their prompt here yet: leave best out, or the owner can add a model, for example "
    "with `easel models use blip2-itm-vit-g`."
)


@dataclass(frozen=True)
class Round:
    """After `step` steps of each picture, the `kept` best ones go on."""

    step: int
    kept: int


def plan_rounds(best: int, steps: int) -> tuple[Round, ...]:
    """Of pictures that take this many steps each. Empty: all of them are finished."""
    if best <= MAX_FINISHED:
        return ()
    rounds: dict[int, Round] = {}
    kept = best
    for share in ROUND_SHARES:
        step, kept = max(1, math.floor(share * steps)), math.ceil(kept / 2)
        if step < steps:
            rounds[step] = Round(step, kept)
    return tuple(rounds.values())


def best_of(options: Mapping[str, Any]) -> int:
    """How many pictures are compared; 0: none are."""
    return int(options.get("best") or 0)


def count_finished(options: Mapping[str, Any], steps: int) -> int:
    """How many pictures the result has. `steps`: of each picture."""
    rounds = plan_rounds(best_of(options), steps)
    return rounds[-1].kept if rounds else int(options.get("count", 1))


def count_row_steps(best: int, steps: int) -> int:
    """Steps of all pictures together, those of dropped ones too."""
    total, rows, done = 0, best, 0
    for one in plan_rounds(best, steps):
        total += rows * (one.step - done)
        rows, done = one.kept, one.step
    return total + rows * (steps - done)


def expected_steps(options: Mapping[str, Any], steps: int) -> int:
    """Steps of all pictures of a job together. `steps`: of each, those of hires fix included."""
    first = steps - int(options.get("steps", 0)) if options.get("hires") else steps
    begun = best_of(options) or int(options.get("count", 1))
    return count_row_steps(begun, first) + count_finished(options, first) * (steps - first)


def share_steps(options: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """How many pictures are finished, and the steps of each, with its share of the steps of those that are dropped."""
    finished = count_finished(options, steps)
    begun = best_of(options) or finished
    return finished, math.ceil(count_row_steps(begun, steps) / finished)


def count_judged(options: Mapping[str, Any], steps: int) -> list[int]:
    """How many pictures are judged each time, at the end too."""
    best = best_of(options)
    return [best, *(one.kept for one in plan_rounds(best, steps))] if best else []


def check_best(values: Mapping[str, Any]) -> None:
    """Raises: InvalidOption: there is nothing to compare the pictures with, or their number is given twice."""
    best = values.get("best")
    if not best:
        return
    if not values.get("prompt"):
        raise InvalidOption("best", "best_needs_prompt")
    if values.get("count", 1) not in (1, best):
        raise InvalidOption("count", "with_best", value=best)


def without_own_count(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a job, as a request may have them again: with how many pictures are compared, or how many there
    are."""
    if not options.get("best") or options.get("count") != options["best"]:
        return options
    return {name: value for name, value in options.items() if name != "count"}


def find_judge(models: ModelRegistry, maker: ModelSpec, images: Sequence[ImageRef] = ()) -> ModelSpec | None:
    """The model that says how well pictures of this maker, made from these images, match their prompt; None: none can.

    A demo only knows what demos draw from words.
    """
    shown = (image for image in images if image.role in ("init", "reference"))
    is_known = maker.demo and all(image.author == BY_BOT for image in shown)
    matching = models.default_for(ZERO_SHOT_IMAGE_CLASSIFICATION)
    answering = models.default_for(VISUAL_QUESTION_ANSWERING)
    able = [matching, answering if answering is not None and answering.capabilities.get("ranks") else None]
    return next((one for one in able if one is not None and (is_known or not one.demo)), None)


def require_judge(models: ModelRegistry, maker: ModelSpec, images: Sequence[ImageRef], command: str) -> ModelSpec:
    """Raises: NoModel: a sentence names what to add."""
    judge = find_judge(models, maker, images)
    if judge is None:
        raise NoModel(command, NO_JUDGE)
    return judge
