"""Generates questions about scenes in many wordings, with their answers, for the vision model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.colours import COLOURS
from training.objects import OBJECTS, plural
from training.shapes import SHAPES
from training.world import COUNTS, SPOTS, Scene, Thing, all_things, article

TEMPLATE = "Question: {question} Answer:"
"""The prompt for BLIP-2; captions are generated without text."""

ABOUT_BACKGROUND = (
    "what color is the background", "what color is the background", "what color is the backdrop",
    "which color is the background", "what is the background color", "what's the background color",
    "what is the color of the background", "what's the color of the background",
    "what is the background", "background color", "what color is behind the {name}",
    "which color is the {name} on", "tell me the background color", "the background is what color",
    "what color does the background have", "what color is the picture's background",
    "what is the color of the backdrop", "what color background is this",
)  # fmt: skip
ABOUT_COLOUR = (
    "what color is the {name}", "what color is the {name}", "what color is the shape",
    "what is the color of the {name}", "what's the color of the shape", "which color is the {name}",
    "what color is the object", "what color is it", "what color is this {name}",
    "what color is the thing in the picture", "what is the shape's color", "color of the {name}",
    "what color is the figure",
)  # fmt: skip
ABOUT_SHAPE = (
    "what shape is this", "what shape is this", "what shape is it", "what shape is shown",
    "which shape is this", "what is the shape", "what shape is in the picture", "what's the shape",
    "what kind of shape is this", "what shape do you see", "name the shape", "which shape do you see",
    "what shape is the {colour} thing", "what shape is the object", "what figure is this",
    "what shape is on the {background} background", "what shape is drawn here",
)  # fmt: skip
ABOUT_THING = (
    "what is this", "what is this", "what is this", "what's this", "what is in the picture", "what do you see",
    "what is it", "what is shown here", "what's in the image", "what is the object", "what is in this image",
    "what can you see", "what does the picture show", "what is drawn here", "what animal is this", "what is here",
    "what thing is this", "what object is this", "what do we see", "what is in the photo", "who is this",
)  # fmt: skip
ABOUT_ALL = (
    "describe the picture", "describe this image", "what is the picture of", "describe it",
    "can you describe the image",
)  # fmt: skip
ABOUT_COUNT = (
    "how many {names} are there", "how many {names} are there", "how many {names} do you see",
    "how many things are there",
    "how many are there", "how many", "how many {names}", "how many objects are in the picture", "count the {names}",
)  # fmt: skip
ABOUT_PLACE = (
    "where is the {name}", "where is the {name}", "where is it", "where is the object",
    "where is the {name} in the picture",
    "where do you see the {name}", "where in the picture is the {name}", "where is the {name} located",
)  # fmt: skip
IS_THING = (
    "is there {a_thing}", "is there {a_thing}", "is this {a_thing}", "is it {a_thing}", "do you see {a_thing}",
    "is there {a_thing} in the picture", "does the picture show {a_thing}", "can you see {a_thing}",
)  # fmt: skip
IS_COLOUR = (
    "is the {name} {colour}", "is the shape {colour}", "is it {colour}", "is the object {colour}",
)  # fmt: skip
IS_BACKGROUND = (
    "is the background {background}", "is the backdrop {background}", "is the background color {background}",
    "is there {a_background} background", "is it on {a_background} background",
)  # fmt: skip
MARKS = ("?", "?", "?", "", " ?", "???", ".")


@dataclass(frozen=True)
class QuestionAnswer:
    """A question as a user would type it, and the correct answer."""

    question: str
    answer: str

    @property
    def prompt(self) -> str:
        return TEMPLATE.format(question=self.question)


class QuestionGenerator:
    """Samples questions about scenes: by default six in ten open, four yes/no."""

    def __init__(self, rng: np.random.Generator, yes_no_share: float = 0.4) -> None:
        self.rng = rng
        self._open_share = 1 - yes_no_share

    def sample_question(self, scene: Scene) -> QuestionAnswer:
        """One question of any kind that the scene can answer."""
        return self._open_question(scene) if self.rng.random() < self._open_share else self.yes_no_question(scene)

    def _open_question(self, scene: Scene) -> QuestionAnswer:
        thing = scene.thing
        kinds = [(ABOUT_BACKGROUND, scene.background), (ABOUT_THING, scene.subject), (ABOUT_ALL, scene.caption)]
        kinds += [(ABOUT_COUNT, COUNTS[len(scene.things) - 1])] if not scene.is_pair else []
        kinds += [(ABOUT_PLACE, location_phrase(scene))] if len(scene.things) == 1 else []
        kinds += [(ABOUT_THING, scene.subject)] if not thing.colour else []
        if thing.colour and not scene.is_pair:
            kinds += [(ABOUT_COLOUR, thing.colour), (ABOUT_SHAPE, thing.name)]
        if scene.is_pair:
            kinds += [(("what is on the left", "what is to the left"), scene.things[0].phrase)]
            kinds += [(("what is on the right", "what is to the right"), scene.things[1].phrase)]
        wordings, answer = kinds[int(self.rng.integers(len(kinds)))]
        return self._phrase_question(wordings, thing, scene.background, answer)

    def yes_no_question(self, scene: Scene) -> QuestionAnswer:
        """A question with a balanced answer: as often yes as no."""
        thing = scene.things[int(self.rng.integers(len(scene.things)))]
        draw = self.rng.random()
        if draw < 0.25:
            background = self._guess(scene.background, (*COLOURS, *(t.colour for t in scene.things if t.colour)))
            return self._phrase_question(IS_BACKGROUND, thing, background, _yes_or_no(background == scene.background))
        if draw < 0.45 and thing.colour and not scene.is_pair:
            colour = self._guess(thing.colour, (*COLOURS, scene.background))
            return self._phrase_question(
                IS_COLOUR, Thing(thing.name, colour), scene.background, _yes_or_no(colour == thing.colour)
            )
        if self.rng.random() < 0.5:
            return self._phrase_question(IS_THING, self._maybe_without_colour(thing), scene.background, "yes")
        return self._phrase_question(IS_THING, self._absent_thing(scene, thing), scene.background, "no")

    def _maybe_without_colour(self, thing: Thing) -> Thing:
        """A shape may appear in a question without its colour."""
        return Thing(thing.name) if thing.colour and self.rng.random() < 0.5 else thing

    def _absent_thing(self, scene: Scene, thing: Thing) -> Thing:
        """A thing that is not in the scene: sometimes the same shape in another colour, otherwise any."""
        if thing.colour and self.rng.random() < 0.4:
            colour = self._guess(thing.colour, COLOURS, 0.0)
            recoloured = Thing(thing.name, colour)
            if recoloured not in scene.things:
                return recoloured
        names = [t.name for t in scene.things]
        shapes = self.rng.random() < (0.7 if thing.colour else 0.1)
        pool = [t for t in all_things() if bool(t.colour) == shapes and t.name not in names]
        return self._maybe_without_colour(pool[int(self.rng.integers(len(pool)))])

    def _guess(self, truth: str, names: Iterable[str], share: float = 0.5) -> str:
        """The truth with probability `share`, otherwise another name."""
        others = [name for name in names if name != truth]
        if self.rng.random() < share:
            return truth
        return others[int(self.rng.integers(len(others)))]

    def _phrase_question(self, wordings: Sequence[str], thing: Thing, background: str, answer: str) -> QuestionAnswer:
        wording = wordings[int(self.rng.integers(len(wordings)))]
        question = wording.format(
            name=thing.name, names=plural(thing.name), colour=thing.colour or "big", background=background,
            a_thing=thing.phrase, a_background=f"{article(background)} {background}",
        )  # fmt: skip
        return QuestionAnswer(question + MARKS[int(self.rng.integers(len(MARKS)))], answer)


def location_phrase(scene: Scene) -> str:
    """Where a single thing is: `in the middle`, `on the left`, `in the top left`."""
    return scene.place or "in the middle"


def question_words() -> list[str]:
    """The vocabulary of the vision model, sorted."""
    groups = (
        ABOUT_BACKGROUND, ABOUT_COLOUR, ABOUT_SHAPE, ABOUT_THING, ABOUT_ALL, ABOUT_COUNT, ABOUT_PLACE,
        IS_THING, IS_COLOUR, IS_BACKGROUND,
    )  # fmt: skip
    text = " ".join(" ".join(group) for group in groups).replace("'", " ' ")
    plain = {word for word in text.split() if "{" not in word}
    extra = f"question answer : ? . ! , yes no a an to on at in and the middle small big {' '.join(SPOTS)}".split()
    nouns = {*SHAPES, *OBJECTS}
    return sorted(
        plain | set(extra) | nouns | {plural(noun) for noun in nouns} | set(COLOURS) | {*COUNTS, "background"}
    )


def _yes_or_no(is_true: bool) -> str:
    return "yes" if is_true else "no"
