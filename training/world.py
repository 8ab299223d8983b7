"""The domain of the starter models: objects and flat shapes on one flat background.

Defines the possible scenes, and those held out from training: combinations selected by a hash of their names.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from training.artwork import load_artwork
from training.colours import COLOURS
from training.objects import OBJECTS, PLURAL, plural
from training.shapes import SHAPES

SIZE = 128
"""Width and height of an image, in pixels."""

HELD_OUT_SHARE = 0.12
NEAR, CENTRE, FAR = 0.27, 0.5, 0.73
SPOTS: dict[str, tuple[float, float]] = {
    "centre": (CENTRE, CENTRE),
    "left": (NEAR, CENTRE),
    "right": (FAR, CENTRE),
    "top": (CENTRE, NEAR),
    "bottom": (CENTRE, FAR),
    "top left": (NEAR, NEAR),
    "top right": (FAR, NEAR),
    "bottom left": (NEAR, FAR),
    "bottom right": (FAR, FAR),
}
"""Possible positions of a thing, x and y as shares of the image's side."""

HEIGHTS = {"": 0.75, "small": 0.44, "big": 0.94}
"""Heights of a single thing in the middle, as shares of the image's."""
HALF, THIRD = 0.44, 0.3
"""Heights of things in a spot or side by side in twos, and in threes."""
COUNTS = ("one", "two", "three")


@dataclass(frozen=True, order=True)
class Thing:
    """An object, which has its own colours, or a shape of one colour."""

    name: str
    colour: str = ""

    @property
    def phrase(self) -> str:
        """As a noun phrase: `a red circle`, `an owl`, `grapes`."""
        words = f"{self.colour} {self.name}".strip()
        return words if self.name in PLURAL else f"{article(words)} {words}"

    @property
    def plural_phrase(self) -> str:
        """In the plural: `red circles`."""
        return f"{self.colour} {plural(self.name)}".strip()


@dataclass(frozen=True)
class Placed:
    """A thing with its position and height, as shares of the image's side."""

    thing: Thing
    centre: tuple[float, float]
    height: float


@dataclass(frozen=True)
class Scene:
    """The content of an image. Several things are in a row; a single one is in the middle or in a spot.

    Attributes:
        things: from left to right; the same one repeatedly in counting scenes.
        size: of a single thing in the middle: "", "small" or "big".
    """

    things: tuple[Thing, ...]
    background: str
    spot: str = "centre"
    size: str = ""

    @property
    def thing(self) -> Thing:
        return self.things[0]

    @property
    def is_plain(self) -> bool:
        """Whether one thing of the usual size is in the middle."""
        return len(self.things) == 1 and self.spot == "centre" and not self.size

    @property
    def is_pair(self) -> bool:
        """Whether two different things are side by side."""
        return len(set(self.things)) == 2

    @property
    def subject(self) -> str:
        """The things as a noun phrase: `a small cat`, `two red circles`, `a cat and an owl`."""
        if self.is_pair:
            return f"{self.things[0].phrase} and {self.things[1].phrase}"
        if len(self.things) > 1:
            return f"{COUNTS[len(self.things) - 1]} {self.thing.plural_phrase}"
        if self.size:
            words = f"{self.size} {self.thing.phrase.removeprefix('an ').removeprefix('a ')}"
            return words if self.thing.name in PLURAL else f"a {words}"
        return self.thing.phrase

    @property
    def place(self) -> str:
        """The position of a thing that is not in the middle: `in the top left`, `on the left`."""
        if self.spot == "centre":
            return ""
        return f"{'on' if self.spot in ('left', 'right') else 'at' if ' ' not in self.spot else 'in'} the {self.spot}"

    @property
    def caption(self) -> str:
        """The plainest wording."""
        return " ".join(f"{self.subject} {self.place} on {self.backdrop}".split())

    @property
    def backdrop(self) -> str:
        """The background as a noun phrase: `an orange background`."""
        return f"{article(self.background)} {self.background} background"

    def layout(self) -> tuple[Placed, ...]:
        """The position and height of each thing."""
        count = len(self.things)
        if count == 1:
            height = HEIGHTS[self.size] if self.spot == "centre" else HALF
            return (Placed(self.thing, SPOTS[self.spot], height),)
        across, height = ((NEAR, FAR), HALF) if count == 2 else ((0.18, 0.5, 0.82), THIRD)
        return tuple(Placed(thing, (x, CENTRE), height) for thing, x in zip(self.things, across, strict=True))


CANONICAL = Scene((Thing("circle", "red"),), "blue")


def article(word: str) -> str:
    """`a` or `an`, by the next word."""
    return "an" if word[0] in "aeiou" and not word.startswith(("unicorn", "ufo")) else "a"


def is_visible(thing: Thing, background: str) -> bool:
    """Whether the thing is distinguishable from the background."""
    return thing.colour != background if thing.colour else background not in load_artwork()[thing.name]["hidden_on"]


def default_background(thing: Thing) -> str:
    """The background of a prompt that names none: white, or gray where white would hide the thing."""
    return "white" if is_visible(thing, "white") else "gray"


@cache
def all_things() -> tuple[Thing, ...]:
    """Every object, then every shape in every colour, in a fixed order."""
    shapes = itertools.product(SHAPES, COLOURS)
    return (*(Thing(name) for name in OBJECTS), *(Thing(*pair) for pair in shapes))


def all_scenes() -> Iterator[Scene]:
    """Every plain scene whose thing is visible on its background, in a fixed order."""
    for thing, background in itertools.product(all_things(), COLOURS):
        if is_visible(thing, background):
            yield Scene((thing,), background)


def is_held_out(scene: Scene) -> bool:
    """Whether the scene is excluded from training, by a thing on its background or by its pair of things."""
    if any(_is_combination_held_out(thing, scene.background) for thing in scene.things):
        return True
    return scene.is_pair and _is_pair_held_out(frozenset(scene.things))


@cache
def _is_combination_held_out(thing: Thing, background: str) -> bool:
    if (thing, background) == (CANONICAL.thing, CANONICAL.background):
        return True
    name = f"{thing.name}/{thing.colour}/{background}" if thing.colour else f"{thing.name}/{background}"
    return _hash_share(name) < HELD_OUT_SHARE


def _is_pair_held_out(things: frozenset[Thing]) -> bool:
    return _hash_share("/".join(sorted(f"{t.colour} {t.name}".strip() for t in things))) < HELD_OUT_SHARE


@cache
def held_out_scenes() -> tuple[Scene, ...]:
    """The plain held-out scenes, the canonical example first, then in an arbitrary fixed order."""
    rest = [scene for scene in all_scenes() if is_held_out(scene) and scene != CANONICAL]
    return (CANONICAL, *sorted(rest, key=lambda scene: _hash_share(scene.caption)))


@cache
def training_scenes() -> tuple[Scene, ...]:
    """The plain scenes that models are trained on."""
    return tuple(scene for scene in all_scenes() if not is_held_out(scene))


def _hash_share(name: str) -> float:
    """A number in [0, 1) that depends only on the name."""
    return int.from_bytes(hashlib.sha256(f"easel/{name}".encode()).digest()[:8], "big") / 2**64
