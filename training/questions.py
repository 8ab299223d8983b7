"""Asks about scenes in many wordings, with the answers, for the model that looks at pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.world import COLOURS, SHAPES, Combination, article

TEMPLATE = "Question: {question} Answer:"
"""How BLIP-2 is asked; a caption is asked for with no text at all."""

ABOUT_GROUND = (
    "what color is the background", "what color is the background", "what color is the backdrop",
    "which color is the background", "what is the background color", "what's the background color",
    "what is the color of the background", "what's the color of the background",
    "what is the background", "background color", "what color is behind the {shape}",
    "which color is the {shape} on", "tell me the background color", "the background is what color",
    "what color does the background have", "what color is the picture's background",
    "what is the color of the backdrop", "what color background is this",
)  # fmt: skip
ABOUT_COLOUR = (
    "what color is the {shape}", "what color is the {shape}", "what color is the shape",
    "what is the color of the {shape}", "what's the color of the shape", "which color is the {shape}",
    "what color is the object", "what color is it", "what color is this {shape}",
    "what color is the thing in the picture", "what is the shape's color", "color of the {shape}",
    "what color is the figure",
)  # fmt: skip
ABOUT_SHAPE = (
    "what shape is this", "what shape is this", "what shape is it", "what shape is shown",
    "which shape is this", "what is the shape", "what shape is in the picture", "what's the shape",
    "what kind of shape is this", "what shape do you see", "name the shape", "which shape do you see",
    "what shape is the {colour} thing", "what shape is the object", "what figure is this",
    "what shape is on the {ground} background", "what shape is drawn here",
)  # fmt: skip
ABOUT_THING = (
    "what is this", "what is this", "what's this", "what is in the picture", "what do you see",
    "what is it", "what is shown here", "what's in the image", "what is the object",
    "what can you see", "what does the picture show", "what is drawn here",
)  # fmt: skip
ABOUT_ALL = (
    "describe the picture", "describe this image", "what is the picture of", "describe it",
    "can you describe the image",
)  # fmt: skip
IS_SHAPE = (
    "is there {a_shape}", "is this {a_shape}", "is it {a_shape}", "do you see {a_shape}",
    "is there {a_shape} in the picture", "does the picture show {a_shape}", "is the shape {a_shape}",
)  # fmt: skip
IS_COLOUR = (
    "is the {shape} {colour}", "is the shape {colour}", "is it {colour}", "is the object {colour}",
)  # fmt: skip
IS_GROUND = (
    "is the background {ground}", "is the backdrop {ground}", "is the background color {ground}",
    "is there {a_ground} background", "is it on {a_ground} background",
)  # fmt: skip
IS_THING = (
    "is this {a_colour} {shape}",
    "is there {a_colour} {shape}",
    "do you see {a_colour} {shape}",
)
MARKS = ("?", "?", "?", "", " ?", "???", ".")


@dataclass(frozen=True)
class Asked:
    """A question as a person would type it, and the answer wanted."""

    question: str
    answer: str

    @property
    def text(self) -> str:
        return TEMPLATE.format(question=self.question)


class Asker:
    """Asks about combinations as one random generator says."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def ask(self, what: Combination) -> Asked:
        """One question of any kind: half of them open, half to be answered yes or no."""
        thing = f"{article(what.colour)} {what.colour} {what.shape}"
        open_kinds = (
            (ABOUT_GROUND, what.background), (ABOUT_GROUND, what.background),
            (ABOUT_COLOUR, what.colour), (ABOUT_COLOUR, what.colour),
            (ABOUT_SHAPE, what.shape), (ABOUT_SHAPE, what.shape),
            (ABOUT_THING, thing), (ABOUT_ALL, what.caption),
        )  # fmt: skip
        if self.rng.random() < 0.65:
            wordings, answer = open_kinds[int(self.rng.integers(len(open_kinds)))]
            return self._word(wordings, what, answer)
        return self._yes_or_no(what)

    def _yes_or_no(self, what: Combination) -> Asked:
        kinds: tuple[Callable[[Combination], Asked], ...] = (
            self._is_shape, self._is_colour, self._is_ground, self._is_thing,
        )  # fmt: skip
        return kinds[int(self.rng.integers(len(kinds)))](what)

    def _is_shape(self, what: Combination) -> Asked:
        said = self._guess(what.shape, SHAPES)
        asked = Combination(said, what.colour, what.background)
        return self._word(IS_SHAPE, asked, _yes(said == what.shape))

    def _is_colour(self, what: Combination) -> Asked:
        said = self._guess(what.colour, (*COLOURS, what.background))
        asked = Combination(what.shape, said, what.background)
        return self._word(IS_COLOUR, asked, _yes(said == what.colour))

    def _is_ground(self, what: Combination) -> Asked:
        said = self._guess(what.background, (*COLOURS, what.colour))
        asked = Combination(what.shape, what.colour, said)
        return self._word(IS_GROUND, asked, _yes(said == what.background))

    def _is_thing(self, what: Combination) -> Asked:
        shape, colour = self._guess(what.shape, SHAPES, 0.7), self._guess(what.colour, COLOURS, 0.7)
        asked = Combination(shape, colour, what.background)
        return self._word(IS_THING, asked, _yes(shape == what.shape and colour == what.colour))

    def _guess(self, truth: str, names: Iterable[str], share: float = 0.5) -> str:
        """The truth as often as `share` says, else another name."""
        others = [name for name in names if name != truth]
        if self.rng.random() < share:
            return truth
        return others[int(self.rng.integers(len(others)))]

    def _word(self, wordings: Sequence[str], what: Combination, answer: str) -> Asked:
        wording = wordings[int(self.rng.integers(len(wordings)))]
        question = wording.format(
            shape=what.shape, colour=what.colour, ground=what.background,
            a_shape=f"{article(what.shape)} {what.shape}",
            a_colour=f"{article(what.colour)} {what.colour}",
            a_ground=f"{article(what.background)} {what.background}",
        )  # fmt: skip
        return Asked(question + MARKS[int(self.rng.integers(len(MARKS)))], answer)


def question_words() -> list[str]:
    """Every word the model that looks at pictures knows, sorted."""
    groups = (
        ABOUT_GROUND, ABOUT_COLOUR, ABOUT_SHAPE, ABOUT_THING, ABOUT_ALL,
        IS_SHAPE, IS_COLOUR, IS_GROUND, IS_THING,
    )  # fmt: skip
    text = " ".join(" ".join(group) for group in groups).replace("'", " ' ")
    plain = {word for word in text.split() if "{" not in word}
    extra = {"question", "answer", ":", "?", ".", "!", ",", "yes", "no", "a", "an", "on"}
    return sorted(plain | extra | set(SHAPES) | set(COLOURS) | {"background"})


def _yes(is_true: bool) -> str:
    return "yes" if is_true else "no"
