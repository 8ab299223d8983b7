"""The compute of every peer: a plain Diffusers pipeline, with the same previews and PNG files as ours."""

import base64
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from benchmarks.locked_tokenizer import LockedTokenizer
from benchmarks.workload import ImageRequest
from inference.diffusion.previews import Previewer, preview_decoder
from inference.images.encode import save_image

_SCHEDULERS = {"euler": "EulerDiscreteScheduler", "ddim": "DDIMScheduler"}
EmitLine = Callable[[int, str], None]
"""Called with the index in the group and a line for its client."""


class PeerPipeline:
    """One loaded model. `generate` may run in several threads concurrently, each with its own view."""

    def __init__(self, folder: Path) -> None:
        diffusers.utils.logging.disable_progress_bar()
        self._pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        self._pipeline.set_progress_bar_config(disable=True)
        self._pipeline.tokenizer = LockedTokenizer(self._pipeline.tokenizer)
        self._decode = preview_decoder(self._pipeline, folder)

    def generate(self, requests: Sequence[ImageRequest], emit: EmitLine) -> None:
        """Images for requests of one kind, in one call; after the first step a preview of each that wants one."""
        view = copy.copy(self._pipeline)  # as Diffusers recommends for threads: shared weights, own scheduler
        scheduler_class = getattr(diffusers, _SCHEDULERS[requests[0].sampler])
        view.scheduler = scheduler_class.from_config(self._pipeline.scheduler.config)
        images = view(
            [request.prompt for request in requests],
            num_inference_steps=requests[0].steps,
            guidance_scale=requests[0].guidance,
            width=requests[0].width,
            height=requests[0].height,
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            callback_on_step_end=self._on_step(requests, emit),
        ).images
        for index, (request, image) in enumerate(zip(requests, images, strict=True)):
            emit(index, _line("image", _encode_png(request, image)))

    def _on_step(self, requests: Sequence[ImageRequest], emit: EmitLine) -> Callable[..., dict[str, Any]]:
        def on_step(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step == 0:
                for index in (index for index, request in enumerate(requests) if request.wants_previews):
                    preview = Previewer(self._decode, _fast_clock()).make_preview(tensors["latents"][index : index + 1])
                    emit(index, _line("preview", preview or b""))
            return tensors

        return on_step


def group_by_kind(requests: Sequence[ImageRequest], max_batch: int) -> list[list[int]]:
    """Indices of requests that one call can serve: the same steps, guidance, sampler and size."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, one in enumerate(requests):
        groups.setdefault((one.steps, one.guidance, one.sampler, one.width, one.height), []).append(index)
    return [indices[i : i + max_batch] for indices in groups.values() for i in range(0, len(indices), max_batch)]


def _fast_clock() -> Callable[[], float]:
    """A clock that always allows a preview."""
    ticks = iter(range(0, 10**6, 60))
    return lambda: float(next(ticks))


def _encode_png(request: ImageRequest, image: Image.Image) -> bytes:
    settings = (
        f"Steps: {request.steps}, Sampler: {request.sampler}, CFG scale: {request.guidance}, Seed: {request.seed}"
    )
    return save_image(image, "png", f"{request.prompt}\n{settings}", "{}").data


def _line(kind: str, data: bytes) -> str:
    return f"{kind} {base64.b64encode(data).decode()}\n"
