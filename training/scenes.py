"""Chooses scenes to train on, none of them held out, and draws batches of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from training.colours import COLOURS, rgb
from training.draw import compose, to_tensor, vary
from training.world import SPOTS, Scene, Thing, all_things, for_training, is_held_out, is_visible

PLAIN, SIZED, SPOTTED, COUNTED, PAIRED = "plain", "sized", "spotted", "counted", "paired"
KINDS = (PLAIN, SIZED, SPOTTED, COUNTED, PAIRED)
Mix = Mapping[str, float]
"""How often each kind of scene is chosen; the shares add up to one."""

MOSTLY_PLAIN: Mix = {PLAIN: 0.8, SIZED: 0.04, SPOTTED: 0.05, COUNTED: 0.04, PAIRED: 0.07}


def scene_of(kind: str, thing: Thing, other: Thing, background: str, rng: np.random.Generator) -> Scene:
    """A scene of a kind, around one thing; `other` stands beside it in pairs."""
    if kind == SIZED:
        return Scene((thing,), background, size=("small", "big")[int(rng.integers(2))])
    if kind == SPOTTED:
        return Scene((thing,), background, spot=list(SPOTS)[int(rng.integers(1, len(SPOTS)))])
    if kind == COUNTED:
        return Scene((thing,) * int(rng.integers(2, 4)), background)
    if kind == PAIRED:
        return Scene((thing, other), background)
    return Scene((thing,), background)


class SceneChooser:
    """Chooses scenes for training: objects two times in three, shapes otherwise."""

    def __init__(self, mix: Mix = MOSTLY_PLAIN, objects: float = 0.75) -> None:
        self.kinds, self.shares = list(mix), np.array(list(mix.values()))
        self.objects = objects
        things = all_things()
        self.pools = ([t for t in things if not t.colour], [t for t in things if t.colour])
        plain = for_training()
        self.backgrounds: dict[Thing, list[str]] = {thing: [] for thing in things}
        for scene in plain:
            self.backgrounds[scene.thing].append(scene.background)

    def choose(self, rng: np.random.Generator) -> Scene:
        """One scene that is not held out."""
        kind = str(rng.choice(self.kinds, p=self.shares))
        while True:
            thing, other = self.thing(rng), self.thing(rng)
            grounds = self.backgrounds[thing]
            background = grounds[int(rng.integers(len(grounds)))]
            if kind == PAIRED and (other == thing or not is_visible(other, background)):
                continue
            scene = scene_of(kind, thing, other, background, rng)
            if not is_held_out(scene):
                return scene

    def thing(self, rng: np.random.Generator) -> Thing:
        """Any thing."""
        pool = self.pools[0] if rng.random() < self.objects else self.pools[1]
        return pool[int(rng.integers(len(pool)))]


def draw_batch(
    chooser: SceneChooser, rng: np.random.Generator, count: int, jitter: float = 0.0
) -> tuple[Tensor, list[Scene]]:
    """Pictures, shape (count, 3, 128, 128) in [-1, 1], and what they show.

    Args:
        jitter: standard deviation of the backgrounds' displacement, in [0, 255].
    """
    scenes = [chooser.choose(rng) for _ in range(count)]
    grounds = [rgb(s.background) + jitter * rng.standard_normal(3) for s in scenes]
    pairs = zip(scenes, grounds, strict=True)
    return to_tensor([compose(vary(s, rng), g.clip(0, 255).astype(np.float32)) for s, g in pairs]), scenes


def colour_index(colour: str) -> int:
    """The colour's place among the twelve."""
    return list(COLOURS).index(colour)
