"""From a picture's score and its space's policy to what is shown. Nothing unknown is ever shown by mistake.

A score is how likely a picture is sexual, 0 to 1; None: nobody looked. Demo models have no rules: what they can draw
needs no looking at.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Literal

from bot.error_texts import UNCHECKED
from bot.errors import Blocked
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports.pool import Done, Rendered
from bot.ports.safety import Rules as Rules

PolicyName = Literal["block", "spoiler", "allow"]
CLASSIFIER = "safety-classifier"


class Policy(StrEnum):
    """What becomes of a sexual picture: thrown away, shown after a click, or shown."""

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
    """Of every space that has none of its own."""
    local_policy: PolicyName = "allow"
    """Of the owner's own page and command line."""
    edit_others: bool = False
    """Pictures that somebody else posted may be edited, where the space says nothing else."""
    classifier: str = "Falconsai/nsfw_image_detection"
    """`org/name`, or a folder: what tells sexual pictures from others."""
    classifier_revision: str = ""
    classifier_licence: str = "Apache-2.0"
    threshold: float = 0.5
    """The score from which on a picture is sexual."""
    blocked_words: tuple[str, ...] = ()
    blocked_words_file: str = ""
    """One word or phrase a line; relative to the data directory."""


def classifier_of(settings: SafetySettings) -> ModelSpec:
    """The classifier as a checkpoint like others: to be fetched, looked for and loaded."""
    return ModelSpec(
        name=CLASSIFIER,
        tasks=(IMAGE_CLASSIFICATION,),
        repo=settings.classifier,
        revision=settings.classifier_revision,
        licence=settings.classifier_licence,
    )


def verdict(rules: Rules, score: float | None) -> Verdict:
    """What becomes of a picture with this score.

    One that nobody looked at is an admin's alone, and hidden at first wherever not everything is allowed.
    """
    if score is None and rules.may_be_unchecked:
        return Verdict.SHOW if rules.policy == Policy.ALLOW else Verdict.SPOILER
    if score is None or not 0 <= score <= 1:
        return Verdict.BLOCK
    if score < rules.threshold:
        return Verdict.SHOW
    if rules.policy == Policy.ALLOW:
        return Verdict.SHOW
    return Verdict.SPOILER if rules.policy == Policy.SPOILER else Verdict.BLOCK


def judged(done: Done, rules: Rules | None) -> Done:
    """The result with each picture marked for what it is. Raises: Blocked, when one of them may not be shown."""
    if rules is None or not done.pictures:
        return done
    pictures = tuple(_marked(made, rules) for made in done.pictures)
    unchecked = (UNCHECKED,) if any(made.nsfw is None for made in pictures) else ()
    return replace(done, pictures=pictures, notes=(*done.notes, *unchecked))


def _marked(made: Rendered, rules: Rules) -> Rendered:
    found = verdict(rules, made.nsfw)
    if found is Verdict.BLOCK:
        raise Blocked("nsfw" if _is_number(made.nsfw) else "unchecked")
    is_adult = made.nsfw is None or made.nsfw >= rules.threshold
    return replace(made, is_spoiler=found is Verdict.SPOILER, is_adult=is_adult)


def require_fit(rules: Rules | None, score: float | None) -> None:
    """A picture to start from is held to the same rules as one that was made. Raises: Blocked."""
    if rules is not None and verdict(rules, score) is Verdict.BLOCK:
        raise Blocked("picture" if _is_number(score) else "unchecked")


def _is_number(score: float | None) -> bool:
    return score is not None and math.isfinite(score)
