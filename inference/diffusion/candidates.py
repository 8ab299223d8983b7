"""Images of a task that are compared while they are made: after some steps they wait until the parent says which go on.

An image waits inside its pipeline, between two steps. What goes on depends on what the images are expected to become,
and not on when each of them arrives here: so their batches change nothing.
"""

import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy
import torch
from PIL import Image

from bot.commands.best_of import Round, best_of, plan_rounds
from bot.jobs import Media
from bot.ports import Candidate, Candidates, Task
from inference.diffusion.batching_flow import unpack_latents
from inference.diffusion.coroutines import ModuleCall, suspend
from inference.diffusion.expected_latents import StepRecord
from inference.diffusion.image_task import ImageTask
from inference.diffusion.prefix_caches import count_references
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.shared_component import upcast_dtype
from inference.engine.base import CandidatesReady

CHOICE = "choice"
"""Component name of the call that suspends an image until it may go on."""
MAX_SIDE = 512
"""Pixels of the longer side of what is judged: larger latents are shrunk before they are decoded."""


_RGBA = 4


@dataclass(frozen=True, eq=False)
class ChoiceCall(ModuleCall):
    """`picture`: what the image is expected to become; `round`: after which it waits."""

    picture: Media = field(default=Media(b"", ""))
    round: Round = field(default=Round(0, 0))


def wait_for_choice(pipeline: Any, task: Task, step: int, steps: int, record: StepRecord) -> None:
    """In an image's coroutine, after each of its steps: wait if its task's images are compared after this one.

    Returns without a wait where it cannot be told what the image will become: then all images are finished.
    """
    found = next((one for one in plan_rounds(best_of(task.options), steps) if one.step == step), None)
    expected = record.expect_latents() if found is not None else None
    if found is None or expected is None:
        return
    size = (int(task.options["width"]), int(task.options["height"]))
    latents = to_decoder_input(pipeline, expected, size)
    if latents is not None:
        suspend(ChoiceCall(CHOICE, "", (), {}, picture=_decode(pipeline, latents), round=found))


def to_decoder_input(pipeline: Any, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor | None:
    """Latents of an image of `size` (width, height) as the VAE decodes them; None: this layout is unknown.

    Source: the ends of Diffusers' pipelines.
    """
    vae, config = pipeline.vae, pipeline.vae.config
    latents = unpack_latents(pipeline, latents, size)
    if latents.dim() == 3:
        latents = _unpack_tokens(pipeline, latents, size)
    if latents.dim() not in (4, 5):
        return None
    latents = latents.to(torch.float32)
    if hasattr(vae, "bn"):
        return latents
    scaling = getattr(config, "scaling_factor", None) or 1.0
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        shape = (1, -1, *(1,) * (latents.dim() - 2))
        mean, std = (torch.tensor(one, device=latents.device).view(shape) for one in (mean, std))
        return latents * std / scaling + mean
    return latents / scaling + (getattr(config, "shift_factor", None) or 0.0)


def _unpack_tokens(pipeline: Any, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """As the pipeline does it itself; unchanged if it does it in an unknown way."""
    known = {"height": size[1], "width": size[0], "vae_scale_factor": pipeline.vae_scale_factor}
    unpack: Any = getattr(pipeline, "_unpack_latents", None)
    if unpack is None:
        return latents
    names = [*inspect.signature(unpack).parameters][1:]
    return unpack(latents, **{name: known[name] for name in names}) if known.keys() >= set(names) else latents


def _decode(pipeline: Any, latents: torch.Tensor) -> Media:
    """A PNG of at most `MAX_SIDE` pixels. The decode is a call of the pipeline's VAE, which other images share."""
    vae = pipeline.vae
    longest = max(latents.shape[-2:]) * int(pipeline.vae_scale_factor)
    if longest > MAX_SIDE and latents.dim() == 4:
        latents = torch.nn.functional.interpolate(latents, scale_factor=MAX_SIDE / longest, mode="area")
    dtype = upcast_dtype(vae, vae.dtype)
    call = ModuleCall("vae", "decode", (latents.to(dtype),), {"return_dict": False}, dtype)
    decoded = suspend(call)[0]
    return encode_png(decoded[:, :, 0] if decoded.dim() == 5 else decoded)


def encode_png(decoded: torch.Tensor) -> Media:
    """`decoded`: RGB or RGBA in [-1, 1], (1, channels, height, width)."""
    image = decoded[0].float().clamp(-1, 1).add(1).div(2)
    rgb = image[:3] * image[3:] + 1 - image[3:] if len(image) == _RGBA else image  # on white, as finished ones
    pixels: numpy.ndarray = rgb.mul(255).round().nan_to_num().byte().permute(1, 2, 0).cpu().numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return Media(out.getvalue(), "image/png")


class WaitingRows:
    """The images that wait, by task.

    Args:
        tasks: those in flight.
        close: ends an image that does not go on.
        run_on: resumes an image.
    """

    def __init__(
        self,
        tasks: Mapping[str, ImageTask],
        close: Callable[[ImageSequence], None],
        run_on: Callable[[ImageSequence, Callable[[], None]], None],
    ) -> None:
        self._tasks, self._close, self._run_on = tasks, close, run_on
        self._waiting: dict[str, list[ImageSequence]] = {}

    def can_compare(self, task: Task, max_references: int) -> bool:
        """Whether its images are compared while they are made: all of them must be in flight at the same time."""
        best = best_of(task.options)
        return best > 0 and best * count_references(task) <= max_references

    def add(self, sequence: ImageSequence) -> list[CandidatesReady]:
        """One image waits. Returns what is to be judged, once all of its task do."""
        task_id = sequence.task.id
        waiting = self._waiting.setdefault(task_id, [])
        waiting.append(sequence)
        if task_id not in self._tasks or len(waiting) < len(self._tasks[task_id].sequences):
            return []
        waiting.sort(key=lambda one: one.index)
        calls = [call for one in waiting if isinstance(call := one.pending_call, ChoiceCall)]
        images = tuple(Candidate(one.index, call.picture) for one, call in zip(waiting, calls, strict=True))
        found = Candidates(step=calls[0].round.step, kept=calls[0].round.kept, images=images)
        return [CandidatesReady(task_id=task_id, candidates=found)]

    def keep(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        """Let these images go on, by their indexes, and drop the others. A late answer is ignored."""
        waiting = self._waiting.get(task_id, [])
        call = waiting[0].pending_call if waiting else None
        if not isinstance(call, ChoiceCall) or call.round.step != step or not any(one.index in kept for one in waiting):
            return
        del self._waiting[task_id]
        for sequence in waiting:
            if sequence.index not in kept:
                self._tasks[task_id].drop(sequence)
                self._close(sequence)
        for sequence in waiting:
            if sequence.index in kept and task_id in self._tasks:  # the task fails with the first image that does
                self._run_on(sequence, partial(sequence.resume, None))

    def forget(self, task_id: str) -> None:
        """The task has ended."""
        self._waiting.pop(task_id, None)
