"""Evaluates best of n on held-out scenes: what ranking and halving win, and how often a note of a low match is wrong.

Run `python -m training.evaluate_best`, which prints a table. The starter image model draws `ROWS` pictures of each
prompt, and the starter match model judges them as Easel does: finished, and after some steps what the denoiser expects
them to become. Every way of choosing is counted on the same pictures. `training.judge` says which are fully right:
things, colours, ground and places. What is judged is kept in `--cache`, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import Blip2ForImageTextRetrieval, Blip2Processor

from training.draw import render_scene
from training.evaluate import held_out_of_kind
from training.judge import ImageJudge, Marks
from training.scenes import COUNTED, PAIRED, SIZED, SPOTTED
from training.world import Scene, all_things, default_background

ROWS = 8
ROUNDS = ((3, 4), (7, 2))
"""After so many of the 12 steps, how many rows go on: those of `bot.commands.best_of`."""
STEPS = 12
WEAK_KINDS = (SIZED, SPOTTED, COUNTED, PAIRED)
"""Kinds of scenes that the starter draws well less often."""
CRITERIA = ("background", "thing", "colour", "place")
LOW_MATCH = 0.00005
"""`low_match` of starter-match, a probability: of a text that says little of an image, the model is never sure."""
Row = int


@dataclass(frozen=True)
class JudgedPrompt:
    """The pictures of one prompt, by row.

    Attributes:
        right: whether each finished picture is fully right.
        final: the match model's logit of each finished picture.
        early: the logits of what was expected after some steps, by step.
        render, other: the logits of a true render with its own caption, and with that of another scene of its kind.
    """

    kind: str
    caption: str
    right: list[bool]
    final: list[float]
    early: dict[str, list[float]]
    render: float
    other: float
    picture_s: float
    judged_s: float


class Matcher:
    """The match model, as `inference.vision.match_engine` ranks with it."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = Blip2Processor.from_pretrained(folder)

    @torch.no_grad()
    def score_images(self, images: Sequence[np.ndarray], text: str) -> list[float]:
        """The logit of each image, RGB uint8, with the text."""
        inputs = self.processor(images=list(images), text=[text] * len(images), padding=True, return_tensors="pt")
        logits = self.model(**inputs, use_image_text_matching_head=True).logits_per_image
        return [float(score) for score in logits[:, 1] - logits[:, 0]]


class Painter:
    """Draws the rows of a prompt, and what the denoiser expects of them after some steps."""

    def __init__(self, folder: Path) -> None:
        self.notes = json.loads((folder / "easel.json").read_text())
        self.pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self._expected: list[Tensor] = []
        step = self.pipeline.scheduler.step

        @wraps(step)
        def step_and_keep(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            self._expected.append(output[1])
            return output

        self.pipeline.scheduler.step = step_and_keep

    def paint_rows(self, caption: str, seed: int) -> list[np.ndarray]:
        """The finished pictures: RGB, (128, 128, 3), uint8."""
        self._expected = []
        images = self.pipeline(
            [caption] * ROWS,
            num_inference_steps=STEPS,
            guidance_scale=self.notes["guidance_scale"],
            generator=[torch.Generator().manual_seed(seed + row) for row in range(ROWS)],
        ).images
        return [np.asarray(image) for image in images]

    @torch.no_grad()
    def decode_expected(self, step: int) -> list[np.ndarray]:
        """What the pictures of `paint_rows` were expected to become after so many steps."""
        vae = self.pipeline.vae
        pixels = vae.decode(self._expected[step - 1] / vae.config.scaling_factor, return_dict=False)[0]
        return list(((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())


Choice = Callable[[JudgedPrompt, Sequence[Row]], Row]


def is_right(marks: Marks) -> bool:
    return all(marks[one] for one in CRITERIA)


def judge_prompts(models: Path, prompts: int, cache: Path) -> list[JudgedPrompt]:
    """Of each kind so many. Draws and judges what the cache lacks."""
    judged = [JudgedPrompt(**json.loads(line)) for line in cache.read_text().splitlines()] if cache.exists() else []
    known = {one.caption for one in judged}
    scenes = {kind: held_out_of_kind(kind, prompts) for kind in WEAK_KINDS}
    waiting = [(kind, of_kind[index]) for index in range(prompts) for kind, of_kind in scenes.items()]
    painter, matcher, judge = Painter(models / "starter-image"), Matcher(models / "starter-match"), ImageJudge()
    for number, (kind, scene) in enumerate(waiting):
        if scene.caption in known:
            continue
        other = scenes[kind][(number // len(scenes) + 1) % prompts]
        one = _judge_prompt(kind, scene, other, 1000 * number, painter, matcher, judge)
        judged.append(one)
        with cache.open("a") as file:
            file.write(json.dumps(asdict(one)) + "\n")
    wanted = {scene.caption for _, scene in waiting}
    return [one for one in judged if one.caption in wanted]


def _judge_prompt(
    kind: str, scene: Scene, other: Scene, seed: int, painter: Painter, matcher: Matcher, judge: ImageJudge
) -> JudgedPrompt:
    started = time.monotonic()
    images = painter.paint_rows(scene.caption, seed)
    painted = time.monotonic()
    early = {str(step): matcher.score_images(painter.decode_expected(step), scene.caption) for step, _ in ROUNDS}
    judged = time.monotonic()
    render = render_scene(scene)
    return JudgedPrompt(
        kind=kind,
        caption=scene.caption,
        right=[is_right(judge.judge_image(image, scene)) for image in images],
        final=matcher.score_images(images, scene.caption),
        early=early,
        render=matcher.score_images([render], scene.caption)[0],
        other=matcher.score_images([render], other.caption)[0],
        picture_s=(painted - started) / ROWS,
        judged_s=(judged - painted) / (ROWS * len(ROUNDS)),
    )


# ---------------------------------------------------------------- ways of choosing


def best_row(one: JudgedPrompt, rows: Sequence[Row]) -> Row:
    """The finished row with the highest logit; of equal ones the first."""
    return max(rows, key=lambda row: (one.final[row], -row))


def keep_rows(one: JudgedPrompt) -> list[Row]:
    """Those that halving leaves."""
    rows = list(range(ROWS))
    for step, kept in ROUNDS:
        scores = one.early[str(step)]
        rows = sorted(rows, key=lambda row, scores=scores: (-scores[row], row))[:kept]  # type: ignore[misc]
    return rows


def count_pictures(judged: Sequence[JudgedPrompt]) -> float:
    """What halving costs, in finished pictures: its steps, and what is decoded and judged."""
    rows, done, steps, previews = ROWS, 0, 0, 0
    for step, kept in ROUNDS:
        steps, previews, rows, done = steps + rows * (step - done), previews + rows, kept, step
    steps += rows * (STEPS - done)
    share = np.mean([one.judged_s for one in judged]) / np.mean([one.picture_s for one in judged])
    return float(steps / STEPS + previews * share)


def mean_right(
    judged: Sequence[JudgedPrompt], choose: Callable[[JudgedPrompt, Sequence[Row]], Row], count: int
) -> float:
    """The share of fully right pictures that are chosen among `count` rows, over all windows of so many rows."""
    windows = [[(start + row) % ROWS for row in range(count)] for start in range(ROWS)]
    return float(np.mean([one.right[choose(one, rows)] for one in judged for rows in windows]))


def oracle_row(one: JudgedPrompt, rows: Sequence[Row]) -> Row:
    return next((row for row in rows if one.right[row]), rows[0])


def summarize(judged: Sequence[JudgedPrompt]) -> dict[str, Any]:
    """The table: shares in percent."""
    single, best, oracle = (
        mean_right(judged, way, count) for way, count in ((best_row, 1), (best_row, 4), (oracle_row, 4))
    )
    halved = float(np.mean([one.right[best_row(one, keep_rows(one))] for one in judged]))
    cost = count_pictures(judged)
    lower, upper = (mean_right(judged, best_row, min(ROWS, count)) for count in (int(cost), int(cost) + 1))
    equal = lower + (cost - int(cost)) * (upper - lower)
    right = [(one, row) for one in judged for row in range(ROWS) if one.right[row]]
    dropped = [(one, row) for one, row in right if row not in keep_rows(one)]
    lost = [one for one in judged if any(one.right) and not any(one.right[row] for row in keep_rows(one))]
    return {
        "prompts": len(judged),
        "one picture": _percent(single),
        "best of 4": _percent(best),
        "oracle's pick of 4": _percent(oracle),
        "gap closed": _percent((best - single) / (oracle - single)) if oracle > single else None,
        "halving of 8": _percent(halved),
        "its cost in pictures": round(cost, 2),
        "best of n at that cost": _percent(equal),
        "won by halving": round(100 * (halved - equal), 1),
        "right rows dropped": f"{len(dropped)} of {len(right)}",
        "prompts that lost all right rows": f"{len(lost)} of {len(judged)}",
        "low match": _summarize_low_match(judged),
    }


def _summarize_low_match(judged: Sequence[JudgedPrompt]) -> dict[str, float]:
    """How often a picture is said not to show its prompt."""
    limit = float(np.log(LOW_MATCH / (1 - LOW_MATCH)))
    right = [one.final[row] < limit for one in judged for row in range(ROWS) if one.right[row]]
    return {
        "of fully right pictures": _percent(float(np.mean(right))),
        "of true renders": _percent(float(np.mean([one.render < limit for one in judged]))),
        "of renders of another scene": _percent(float(np.mean([one.other < limit for one in judged]))),
    }


def evaluate_short_prompts(models: Path) -> dict[str, dict[str, float]]:
    """How often a note of a low match is wrong, and how often right, for prompts that name just the thing, on renders
    with the background that such a prompt gets."""
    matcher = Matcher(models / "starter-match")
    scenes = [Scene((thing,), default_background(thing)) for thing in all_things()[::4]]
    images = [render_scene(scene) for scene in scenes]
    wordings: dict[str, Callable[[Scene], str]] = {
        "name": lambda scene: scene.thing.name,
        "phrase": lambda scene: scene.thing.phrase,
        "caption": lambda scene: scene.caption,
    }
    return {name: _share_of_low_matches(matcher, images, list(map(word, scenes))) for name, word in wordings.items()}


def _share_of_low_matches(matcher: Matcher, images: Sequence[np.ndarray], texts: Sequence[str]) -> dict[str, float]:
    limit = float(np.log(LOW_MATCH / (1 - LOW_MATCH)))
    others = [*texts[7:], *texts[:7]]
    true: list[bool] = []
    false: list[bool] = []
    for image, text, other in zip(images, texts, others, strict=True):
        true += [score < limit for score in matcher.score_images([image], text)]
        false += [score < limit for score in matcher.score_images([image], other)] if other != text else []
    return {"of true pairs": _percent(float(np.mean(true))), "of other pairs": _percent(float(np.mean(false)))}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--prompts", type=int, default=40, help="of each kind of scene; 0: short prompts alone")
    parser.add_argument("--cache", type=Path, default=Path(".training/best.jsonl"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.cache.parent.mkdir(parents=True, exist_ok=True)
    judged = judge_prompts(options.models, options.prompts, options.cache) if options.prompts else []
    table: Mapping[str, Any] = {
        "low match of short prompts": evaluate_short_prompts(options.models),
        **({"all": summarize(judged)} if judged else {}),
        **{kind: summarize(some) for kind in WEAK_KINDS if (some := [one for one in judged if one.kind == kind])},
    }
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
