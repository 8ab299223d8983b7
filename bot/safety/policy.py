"""Applies a space's policy to an image's score. An unchecked image is never shown by mistake.

A score is the probability that an image is sexual, 0 to 1; None: it was not checked. What a demo model makes without an
input image has no rules, as it needs no check.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Literal

from bot.error_texts import UNCHECKED
from bot.errors import Blocked
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports.pool import RenderedImage, Task, TaskImage, TaskOutput
from bot.ports.safety import SafetyRules as SafetyRules

PolicyName = Literal["block", "spoiler", "allow"]
CLASSIFIER = "safety-classifier"
SECOND_CLASSIFIER = "second-safety-classifier"


class Policy(StrEnum):
    """How sexual images are handled: discarded, hidden until clicked, or shown."""

    BLOCK = "block"
    SPOILER = "spoiler"
    ALLOW = "allow"


class Verdict(StrEnum):
    SHOW = "show"
    SPOILER = "spoiler"
    BLOCK = "block"


@dataclass(frozen=True, kw_only=True)
class SafetySettings:
    """`[safety]` in the config."""

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"threshold": (0, 1)}

    policy: PolicyName = "block"
    """Default policy of all spaces."""
    local_policy: PolicyName = "allow"
    """Policy of the owner's own page and command line."""
    edit_others: bool = False
    """Default for spaces: whether images posted by others may be edited."""
    classifier: str = "Falconsai/nsfw_image_detection"
    """`org/name` or folder of the NSFW image classifier."""
    classifier_revision: str = ""
    classifier_licence: str = "Apache-2.0"
    second_classifier: str = "models/starter-safety"
    """Folder or `org/name` of a further classifier; the higher score of both counts. Empty: none."""
    threshold: float = 0.5
    """An image with this score or a higher one counts as sexual."""
    blocked_words: tuple[str, ...] = ()
    blocked_words_file: str = ""
    """A file with one word or phrase per line; relative to the data directory."""


def classifier_specs(settings: SafetySettings) -> tuple[ModelSpec, ...]:
    """The configured classifiers; of those that are installed, the highest score counts."""
    second = ModelSpec(name=SECOND_CLASSIFIER, tasks=(IMAGE_CLASSIFICATION,), repo=settings.second_classifier)
    return tuple(spec for spec in (classifier_spec(settings), second) if spec.repo)


def classifier_spec(settings: SafetySettings) -> ModelSpec:
    """The main classifier as a model, which can be downloaded, located and loaded like others."""
    return ModelSpec(
        name=CLASSIFIER,
        tasks=(IMAGE_CLASSIFICATION,),
        repo=settings.classifier,
        revision=settings.classifier_revision,
        licence=settings.classifier_licence,
    )


def verdict(rules: SafetyRules, score: float | None) -> Verdict:
    """How an image with this score is shown.

    An unchecked image is only shown where the rules say so, and hidden until clicked unless everything is allowed.
    """
    if score is None and rules.may_be_unchecked:
        is_open = rules.policy == Policy.ALLOW and not rules.hides_unchecked
        return Verdict.SHOW if is_open else Verdict.SPOILER
    if score is None or not 0 <= score <= 1:
        return Verdict.BLOCK
    if score < rules.threshold:
        return Verdict.SHOW
    if rules.policy == Policy.ALLOW:
        return Verdict.SHOW
    return Verdict.SPOILER if rules.policy == Policy.SPOILER else Verdict.BLOCK


def apply_rules(output: TaskOutput, rules: SafetyRules | None) -> TaskOutput:
    """Mark each image of the output as the rules require. Raises: Blocked: one of them may not be shown."""
    if rules is None or not output.images:
        return output
    images = tuple(_mark_image(image, rules) for image in output.images)
    unchecked = (UNCHECKED,) if any(image.nsfw is None for image in images) else ()
    return replace(output, images=images, notes=(*output.notes, *unchecked))


def _mark_image(image: RenderedImage, rules: SafetyRules) -> RenderedImage:
    decision = verdict(rules, image.nsfw)
    if decision is Verdict.BLOCK:
        raise Blocked("nsfw" if _is_number(image.nsfw) else "unchecked")
    is_adult = image.nsfw is None or image.nsfw >= rules.threshold
    return replace(image, is_spoiler=decision is Verdict.SPOILER, is_adult=is_adult, is_unchecked=image.nsfw is None)


def build_check(task: Task, name: str, images: Iterable[TaskImage]) -> Task:
    """The safety check of images that belong to a task; `name` ends its id."""
    return Task(
        id=f"{task.id}.{name}",
        command=task.command,
        task=IMAGE_CLASSIFICATION,
        model=ModelSpec(name=CLASSIFIER, tasks=(IMAGE_CLASSIFICATION,), repo=""),
        options=task.options,
        images=tuple(images),
        fairness_key=task.fairness_key,
    )


def check_input_score(rules: SafetyRules | None, score: float | None) -> None:
    """Apply the rules to an input image. Raises: Blocked."""
    if rules is not None and verdict(rules, score) is Verdict.BLOCK:
        raise Blocked("picture" if _is_number(score) else "unchecked")


def _is_number(score: float | None) -> bool:
    return score is not None and math.isfinite(score)
