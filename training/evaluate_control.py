"""Evaluates `starter-control` on held-out scenes: whether the picture's silhouette follows the map.

Run `python -m training.evaluate_control`, or with `--checkpoint .training/control.pt` during a training. The same
prompts and seeds are painted with and without the map.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image

from training.colours import colour_rgb
from training.control import build_controlnet
from training.control_data import Pose, pose_thing, sample_pose
from training.draw import blend_layers, rasterize_layout
from training.judge import MIN_COLOUR_DISTANCE, ImageJudge, background_colour
from training.outlines import fill_silhouette, intersection_over_union, outline_edges, outline_silhouettes
from training.sheets import Images, contact_sheet
from training.train_image import GUIDANCE_SCALE, STEPS
from training.world import Placed, Scene, held_out_scenes

MOVED_HEIGHTS = (0.34, 0.6)
MAX_USUAL_OVERLAP = 0.35
"""How much a posed silhouette may overlap the one that the prompt alone gives."""
BATCH = 10


@dataclass(frozen=True)
class ControlTask:
    """A prompt, a map that asks for another place, size and pose than the usual ones, and its silhouette."""

    scene: Scene
    pose: Pose
    pixels: np.ndarray
    silhouette: np.ndarray
    lines: np.ndarray


def make_tasks(count: int) -> list[ControlTask]:
    """Plain held-out scenes in random poses, always the same ones; half of the maps have all edges."""
    rng = np.random.default_rng(15)
    return [_make_task(scene, rng, number % 2 == 1) for number, scene in enumerate(held_out_scenes()[:count])]


def _make_task(scene: Scene, rng: np.random.Generator, has_edges: bool) -> ControlTask:
    ground = colour_rgb(scene.background)
    usual = fill_silhouette(blend_layers(rasterize_layout(scene.layout()), ground)[1][0] > 0.5)
    while True:
        pose = sample_pose(rng, MOVED_HEIGHTS)
        pixels, masks = blend_layers([pose_thing(scene.thing, pose)], ground)
        silhouette = fill_silhouette(masks[0] > 0.5)
        if intersection_over_union(usual, silhouette) <= MAX_USUAL_OVERLAP:
            lines = outline_edges(pixels) if has_edges else outline_silhouettes(masks)
            return ControlTask(scene, pose, pixels, silhouette, lines)


def load_pipeline(image_model: Path, controlnet: Path | ControlNetModel) -> StableDiffusionControlNetPipeline:
    """The image model with a ControlNet, or with the one in a folder."""
    if isinstance(controlnet, Path):
        controlnet = ControlNetModel.from_pretrained(controlnet, use_safetensors=True, dtype=torch.float32)
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        image_model, controlnet=controlnet, use_safetensors=True, dtype=torch.float32, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_checkpoint(image_model: Path, checkpoint: Path) -> ControlNetModel:
    """The averaged weights of a training that is not finished."""
    pipeline = StableDiffusionPipeline.from_pretrained(image_model, use_safetensors=True, dtype=torch.float32)
    controlnet = build_controlnet(pipeline.unet)
    controlnet.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    return controlnet.eval()


def paint_tasks(
    pipeline: StableDiffusionControlNetPipeline, tasks: Sequence[ControlTask], scale: float, steps: int = STEPS
) -> Images:
    """One picture for each task, seeded by its number; a scale of 0 is without the map."""
    images: Images = []
    for start in range(0, len(tasks), BATCH):
        part = tasks[start : start + BATCH]
        images += pipeline(
            [task.scene.caption for task in part],
            image=[_draw_map(task) for task in part],
            num_inference_steps=steps,
            guidance_scale=GUIDANCE_SCALE,
            controlnet_conditioning_scale=scale,
            generator=[torch.Generator().manual_seed(start + number) for number in range(len(part))],
        ).images
    return images


def find_silhouette(pixels: np.ndarray) -> np.ndarray:
    """Everything that differs from the background's colour, without holes: shape (size, size), bool."""
    distance = np.linalg.norm(pixels.astype(np.float32) - background_colour(pixels), axis=-1)
    return fill_silhouette(distance > MIN_COLOUR_DISTANCE)


def evaluate_control(
    pipeline: StableDiffusionControlNetPipeline, count: int, sheet: Path | None = None
) -> dict[str, str]:
    """Mean intersection over union of silhouettes, with the map and without it."""
    tasks, judge = make_tasks(count), ImageJudge()
    painted = {name: paint_tasks(pipeline, tasks, scale) for name, scale in (("with", 1.0), ("without", 0.0))}
    if sheet:
        rows = zip(tasks, *painted.values(), strict=True)
        contact_sheet([one for task, *images in rows for one in (_draw_map(task), *images)], columns=18).save(sheet)
    truth = [Image.fromarray(task.pixels) for task in tasks]
    return {
        "true renders": _mean_overlap(truth, tasks),
        "with the map of a silhouette": _mean_overlap(painted["with"][::2], tasks[::2]),
        "with the map of all edges": _mean_overlap(painted["with"][1::2], tasks[1::2]),
        "without the map": _mean_overlap(painted["without"], tasks),
        "thing, true renders": _recognised(judge, truth, tasks),
        "thing, with the map": _recognised(judge, painted["with"], tasks),
    }


def _draw_map(task: ControlTask) -> Image.Image:
    return Image.fromarray(255 * task.lines.astype(np.uint8)).convert("RGB")


def _mean_overlap(images: Sequence[Image.Image], tasks: Sequence[ControlTask]) -> str:
    pairs = zip(images, tasks, strict=True)
    overlaps = [intersection_over_union(find_silhouette(np.asarray(one)), task.silhouette) for one, task in pairs]
    return f"{np.mean(overlaps):.3f}"


def _recognised(judge: ImageJudge, images: Sequence[Image.Image], tasks: Sequence[ControlTask]) -> str:
    """How often the independent classifier finds the thing where the map has it."""
    found = [
        judge.classify_thing(np.asarray(image), Placed(task.scene.thing, task.pose.centre, task.pose.height))
        == task.scene.thing.name
        for image, task in zip(images, tasks, strict=True)
    ]
    return f"{sum(found)} of {len(found)} ({100 * sum(found) / max(1, len(found)):.1f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/starter-control"))
    parser.add_argument("--image-model", type=Path, default=Path("models/starter-image"))
    parser.add_argument("--checkpoint", type=Path, help="of a training that is not finished, instead of a model")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="also save maps and pictures as one contact sheet")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    controlnet = load_checkpoint(options.image_model, options.checkpoint) if options.checkpoint else options.model
    pipeline = load_pipeline(options.image_model, controlnet)
    print(json.dumps(evaluate_control(pipeline, options.scenes, options.sheet), indent=2))


if __name__ == "__main__":
    main()
