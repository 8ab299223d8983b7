"""Asks about scenes in many wordings, with the answers, for the model that looks at pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.colours import COLOURS
from training.objects import OBJECTS, plural
from training.shapes import SHAPES
from training.world import COUNTS, SPOTS, Scene, Thing, all_things, article

TEMPLATE = "Question: {question} Answer:"
"""How BLIP-2 is asked; a caption is asked for with no text at all."""

ABOUT_GROUND = (
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
    "what shape is on the {ground} background", "what shape is drawn here",
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
IS_GROUND = (
    "is the background {ground}", "is the backdrop {ground}", "is the background color {ground}",
    "is there {a_ground} background", "is it on {a_ground} background",
)  # fmt: skip
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
    """Asks about scenes as one random generator says: six questions in ten open, four to answer yes or no."""

    def __init__(self, rng: np.random.Generator, yes_or_no: float = 0.4) -> None:
        self.rng = rng
        self._open_share = 1 - yes_or_no

    def ask(self, scene: Scene) -> Asked:
        """One question of any kind that the scene has an answer to."""
        return self._open(scene) if self.rng.random() < self._open_share else self.yes_or_no(scene)

    def _open(self, scene: Scene) -> Asked:
        thing = scene.thing
        kinds = [(ABOUT_GROUND, scene.background), (ABOUT_THING, scene.subject), (ABOUT_ALL, scene.caption)]
        kinds += [(ABOUT_COUNT, COUNTS[len(scene.things) - 1])] if not scene.is_pair else []
        kinds += [(ABOUT_PLACE, whereabouts(scene))] if len(scene.things) == 1 else []
        kinds += [(ABOUT_THING, scene.subject)] if not thing.colour else []
        if thing.colour and not scene.is_pair:
            kinds += [(ABOUT_COLOUR, thing.colour), (ABOUT_SHAPE, thing.name)]
        if scene.is_pair:
            kinds += [(("what is on the left", "what is to the left"), scene.things[0].phrase)]
            kinds += [(("what is on the right", "what is to the right"), scene.things[1].phrase)]
        wordings, answer = kinds[int(self.rng.integers(len(kinds)))]
        return self._word(wordings, thing, scene.background, answer)

    def yes_or_no(self, scene: Scene) -> Asked:
        """A question whose answer is as often yes as no."""
        thing = scene.things[int(self.rng.integers(len(scene.things)))]
        draw = self.rng.random()
        if draw < 0.25:
            ground = self._guess(scene.background, (*COLOURS, *(t.colour for t in scene.things if t.colour)))
            return self._word(IS_GROUND, thing, ground, _yes(ground == scene.background))
        if draw < 0.45 and thing.colour and not scene.is_pair:
            colour = self._guess(thing.colour, (*COLOURS, scene.background))
            return self._word(IS_COLOUR, Thing(thing.name, colour), scene.background, _yes(colour == thing.colour))
        if self.rng.random() < 0.5:
            return self._word(IS_THING, self._plain(thing), scene.background, "yes")
        return self._word(IS_THING, self._other(scene, thing), scene.background, "no")

    def _plain(self, thing: Thing) -> Thing:
        """A shape may be asked for without its colour."""
        return Thing(thing.name) if thing.colour and self.rng.random() < 0.5 else thing

    def _other(self, scene: Scene, thing: Thing) -> Thing:
        """A thing that is not there: of the same name in another colour at times, else anything."""
        if thing.colour and self.rng.random() < 0.4:
            colour = self._guess(thing.colour, COLOURS, 0.0)
            wrong = Thing(thing.name, colour)
            if wrong not in scene.things:
                return wrong
        names = [t.name for t in scene.things]
        shapes = self.rng.random() < (0.7 if thing.colour else 0.1)
        pool = [t for t in all_things() if bool(t.colour) == shapes and t.name not in names]
        return self._plain(pool[int(self.rng.integers(len(pool)))])

    def _guess(self, truth: str, names: Iterable[str], share: float = 0.5) -> str:
        """The truth as often as `share` says, else another name."""
        others = [name for name in names if name != truth]
        if self.rng.random() < share:
            return truth
        return others[int(self.rng.integers(len(others)))]

    def _word(self, wordings: Sequence[str], thing: Thing, ground: str, answer: str) -> Asked:
        wording = wordings[int(self.rng.integers(len(wordings)))]
        question = wording.format(
            name=thing.name, names=plural(thing.name), colour=thing.colour or "big", ground=ground,
            a_thing=thing.phrase, a_ground=f"{article(ground)} {ground}",
        )  # fmt: skip
        return Asked(question + MARKS[int(self.rng.integers(len(MARKS)))], answer)


def whereabouts(scene: Scene) -> str:
    """Where the one thing stands: `in the middle`, `on the left`, `in the top left`."""
    return scene.place or "in the middle"


def question_words() -> list[str]:
    """Every word the model that looks at pictures knows, sorted."""
    groups = (
        ABOUT_GROUND, ABOUT_COLOUR, ABOUT_SHAPE, ABOUT_THING, ABOUT_ALL, ABOUT_COUNT, ABOUT_PLACE,
        IS_THING, IS_COLOUR, IS_GROUND,
    )  # fmt: skip
    text = " ".join(" ".join(group) for group in groups).replace("'", " ' ")
    plain = {word for word in text.split() if "{" not in word}
    extra = f"question answer : ? . ! , yes no a an to on at in and the middle small big {' '.join(SPOTS)}".split()
    nouns = {*SHAPES, *OBJECTS}
    return sorted(
        plain | set(extra) | nouns | {plural(noun) for noun in nouns} | set(COLOURS) | {*COUNTS, "background"}
    )


def _yes(is_true: bool) -> str:
    return "yes" if is_true else "no"
