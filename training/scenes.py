"""Samples scenes for training, none of them held out, and renders batches of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from training.colours import colour_rgb
from training.draw import compose_image, images_to_tensor, jitter_heights
from training.world import SPOTS, Scene, Thing, all_things, is_held_out, is_visible, training_scenes

PLAIN, SIZED, SPOTTED, COUNTED, PAIRED = "plain", "sized", "spotted", "counted", "paired"
KINDS = (PLAIN, SIZED, SPOTTED, COUNTED, PAIRED)
Mix = Mapping[str, float]
"""How often each kind of scene is sampled; the shares add up to one."""

MOSTLY_PLAIN: Mix = {PLAIN: 0.8, SIZED: 0.04, SPOTTED: 0.05, COUNTED: 0.04, PAIRED: 0.07}


def make_scene(kind: str, thing: Thing, other: Thing, background: str, rng: np.random.Generator) -> Scene:
    """A scene of a kind with one thing; `other` is the second one of pairs."""
    if kind == SIZED:
        return Scene((thing,), background, size=("small", "big")[int(rng.integers(2))])
    if kind == SPOTTED:
        return Scene((thing,), background, spot=list(SPOTS)[int(rng.integers(1, len(SPOTS)))])
    if kind == COUNTED:
        return Scene((thing,) * int(rng.integers(2, 4)), background)
    if kind == PAIRED:
        return Scene((thing, other), background)
    return Scene((thing,), background)


class SceneSampler:
    """Samples training scenes. `objects`: the share of objects; the others are shapes."""

    def __init__(self, mix: Mix = MOSTLY_PLAIN, objects: float = 0.75) -> None:
        self.kinds, self.shares = list(mix), np.array(list(mix.values()))
        self.objects = objects
        things = all_things()
        self.pools = ([t for t in things if not t.colour], [t for t in things if t.colour])
        plain = training_scenes()
        self.backgrounds: dict[Thing, list[str]] = {thing: [] for thing in things}
        for scene in plain:
            self.backgrounds[scene.thing].append(scene.background)

    def sample_scene(self, rng: np.random.Generator) -> Scene:
        """One scene that is not held out."""
        kind = str(rng.choice(self.kinds, p=self.shares))
        while True:
            thing, other = self.sample_thing(rng), self.sample_thing(rng)
            backgrounds = self.backgrounds[thing]
            background = backgrounds[int(rng.integers(len(backgrounds)))]
            if kind == PAIRED and (other == thing or not is_visible(other, background)):
                continue
            scene = make_scene(kind, thing, other, background, rng)
            if not is_held_out(scene):
                return scene

    def sample_thing(self, rng: np.random.Generator) -> Thing:
        """A random object or shape."""
        pool = self.pools[0] if rng.random() < self.objects else self.pools[1]
        return pool[int(rng.integers(len(pool)))]


def render_batch(
    sampler: SceneSampler, rng: np.random.Generator, count: int, jitter: float = 0.0
) -> tuple[Tensor, list[Scene]]:
    """Images, shape (count, 3, 128, 128) in [-1, 1], and their scenes.

    Args:
        jitter: standard deviation of the background colours, in [0, 255].
    """
    scenes = [sampler.sample_scene(rng) for _ in range(count)]
    colours = [colour_rgb(s.background) + jitter * rng.standard_normal(3) for s in scenes]
    pairs = zip(scenes, colours, strict=True)
    return images_to_tensor(
        [compose_image(jitter_heights(s, rng), g.clip(0, 255).astype(np.float32)) for s, g in pairs]
    ), scenes
