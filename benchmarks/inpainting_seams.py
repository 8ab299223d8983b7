"""Seams of repainted regions on held-out scenes: `python -m benchmarks.inpainting_seams [--quick]`.

The starter model repaints the thing of each scene, and then the ground behind it, with masks that are exactly the thing
and the ground. A seam is the mean difference of neighbouring pixels across the edge of what was repainted, in levels;
old ground is the share of a ring of 4 px around the thing that still has the old colour.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from PIL import Image

from benchmarks.engine_events import encode_png, pixels_of, run_tasks
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Task, TaskImage
from composition.settings import shipped_models
from inference.diffusion.inpainting import masked_area
from inference.engine.base import Engine, ImageReady, build_engine
from inference.images.inpaint_tools import REPAINTED, grow_mask
from training.colours import colour_rgb
from training.draw import blend_layers, rasterize_layout
from training.segment_data import visible_colours
from training.world import Scene, article, held_out_scenes

SCENES, QUICK_SCENES = 100, 12
RING = 4
MAX_SEAM, MAX_OLD = 8.0, 0.01
_REPLACEMENTS = ("a cat", "a dog", "an apple", "a car")
_CELL = 16
"""Pixels of a side of the starter's latent cells."""


@dataclass(frozen=True)
class Repainted:
    """A scene before and after; `mask`: its thing, in [0, 1]. `seam` in levels, `old` and `new` as shares."""

    before: numpy.ndarray
    after: numpy.ndarray
    mask: numpy.ndarray
    seam: float = 0.0
    old: float = 0.0
    new: float = 0.0
    is_kept: bool = True


class SeamTrial:
    """The starter, used as a device does."""

    def __init__(self, count: int) -> None:
        self.model: ModelSpec = shipped_models()["starter-image"]
        self.scenes = held_out_scenes()[:count]
        self._engine: Engine = build_engine(self.model)
        self._engine.load_model("cpu")

    def repaint_things(self) -> list[Repainted]:
        """Another thing in the place of each."""
        prompts = [f"{_REPLACEMENTS[n % 4]} on {scene.backdrop}" for n, scene in enumerate(self.scenes)]
        return self._repaint("it", prompts, lambda scene, mask: mask, _measure_thing)

    def repaint_grounds(self) -> list[Repainted]:
        """Another colour behind each."""
        prompts = [f"{scene.subject} on {article(new)} {new} background" for scene, new in self._new_grounds()]
        return self._repaint("the background", prompts, lambda scene, mask: 1 - mask, self._measure_ground)

    def _new_grounds(self) -> list[tuple[Scene, str]]:
        rng = numpy.random.default_rng(0)
        return [
            (scene, next(colour for colour in visible_colours(scene.things, rng) if colour != scene.background))
            for scene in self.scenes
        ]

    def _repaint(
        self,
        region: str,
        prompts: Sequence[str],
        mask_of: Callable[[Scene, numpy.ndarray], numpy.ndarray],
        measure: Callable[[int, Task, Repainted], Repainted],
    ) -> list[Repainted]:
        rendered = [render_scene(scene) for scene in self.scenes]
        tasks = [
            self._task(n, pixels, mask_of(scene, mask), region, prompt)
            for n, (scene, (pixels, mask), prompt) in enumerate(zip(self.scenes, rendered, prompts, strict=True))
        ]
        made = self.run(tasks)
        return [
            measure(n, task, Repainted(pixels, made[task.id], mask))
            for n, (task, (pixels, mask)) in enumerate(zip(tasks, rendered, strict=True))
        ]

    def _task(self, number: int, pixels: numpy.ndarray, mask: numpy.ndarray, region: str, prompt: str) -> Task:
        options = {
            "prompt": prompt,
            "negative_prompt": "",
            "seed": 1,
            "count": 1,
            "sampler": "",
            "region": region,
            "strength": 1.0,
            "inpaint_area": "masked",
        }
        options |= {name: getattr(self.model, name) for name in ("steps", "guidance_scale", "width", "height")}
        levels = (mask * 255).round().astype(numpy.uint8)
        images = tuple(TaskImage(role, encode_png(image)) for role, image in (("init", pixels), ("mask", levels)))
        return Task(
            id=str(number),
            command="imagine",
            task=IMAGE_TO_IMAGE,
            model=self.model,
            options=options,
            answers="images",
            images=images,
        )

    def run(self, tasks: Sequence[Task]) -> dict[str, numpy.ndarray]:
        """The image of each task, by its id."""
        events = run_tasks(self._engine, tasks)
        return {event.task_id: pixels_of(event.image) for event in events if isinstance(event, ImageReady)}

    def _measure_ground(self, number: int, task: Task, one: Repainted) -> Repainted:
        scene, new = self._new_grounds()[number]
        ground = one.mask < 0.02
        ring = ground & ~_grown(ground, -RING)
        to_old, to_new = (abs(one.after - colour_rgb(name)).mean(axis=2) for name in (scene.background, new))
        gap = abs(colour_rgb(scene.background) - colour_rgb(new)).mean()
        return Repainted(
            one.before,
            one.after,
            one.mask,
            old=float((to_old[ring] < min(24, gap / 3)).mean()),
            new=float((to_new[ground] < 40).mean()),
            is_kept=_is_kept(task, one),
        )


def _measure_thing(number: int, task: Task, one: Repainted) -> Repainted:
    area = masked_area(task, (one.before.shape[1], one.before.shape[0]), cell=_CELL)
    assert area is not None
    inside, pixels = numpy.asarray(area.mask) >= REPAINTED, one.after.astype(numpy.int16)
    steps = [abs(numpy.diff(pixels, axis=axis)).mean(axis=2)[numpy.diff(inside, axis=axis)] for axis in (0, 1)]
    differences = numpy.concatenate(steps)
    seam = float(differences.mean()) if len(differences) else 0.0
    return Repainted(one.before, one.after, one.mask, seam=seam, is_kept=_is_kept(task, one))


def _is_kept(task: Task, one: Repainted) -> bool:
    area = masked_area(task, (one.before.shape[1], one.before.shape[0]), cell=_CELL)
    assert area is not None
    kept = numpy.asarray(area.mask) == 0
    return bool((one.after[kept] == one.before[kept]).all())


def render_scene(scene: Scene) -> tuple[numpy.ndarray, numpy.ndarray]:
    pixels, masks = blend_layers(rasterize_layout(scene.layout()), colour_rgb(scene.background))
    return pixels, masks.sum(axis=0).clip(0, 1)


def _grown(mask: numpy.ndarray, pixels: int) -> numpy.ndarray:
    """Negative: shrunk."""
    image = Image.fromarray((mask if pixels > 0 else ~mask).astype(numpy.uint8) * 255)
    grown = numpy.asarray(grow_mask(image, abs(pixels))) > 0
    return grown if pixels > 0 else ~grown


def main() -> int:
    torch.set_num_threads(1)
    trial = SeamTrial(QUICK_SCENES if "--quick" in sys.argv else SCENES)
    things, grounds = trial.repaint_things(), trial.repaint_grounds()
    seams, old = [one.seam for one in things], [one.old for one in grounds]
    kept = sum(one.is_kept for one in (*things, *grounds))
    new = numpy.mean([one.new for one in grounds])
    print(f"pixels outside the mask kept: {kept} of {2 * len(things)} pictures")
    print(f"seam around a new thing: {numpy.mean(seams):.1f} levels (goal {MAX_SEAM:g}), {max(seams):.1f} at most")
    print(f"old ground in a ring of {RING} px: {numpy.mean(old):.2%} (goal {MAX_OLD:.0%})")
    print(f"ground in the new colour: {new:.1%}")
    return 0 if numpy.mean(seams) <= MAX_SEAM and numpy.mean(old) <= MAX_OLD else 1


if __name__ == "__main__":
    sys.exit(main())
