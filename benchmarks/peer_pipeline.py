"""What every peer computes with: a plain Diffusers pipeline, the previews and the PNG files that ours makes, too."""

import base64
import copy
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from benchmarks.workload import Wish
from inference.diffusion.previews import Previewer, decoder_of
from inference.images.encode import save

_SAMPLERS = {"euler": "EulerDiscreteScheduler", "ddim": "DDIMScheduler"}
Tell = Callable[[int, str], None]
"""Called with the place in the group and a line for its person."""


class Pipeline:
    """One loaded model. `make` may run in several threads at once, each with a view of its own."""

    def __init__(self, folder: Path) -> None:
        diffusers.utils.logging.disable_progress_bar()
        self._pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        self._pipeline.set_progress_bar_config(disable=True)
        # Fast tokenizers are not safe to share between threads.
        self._pipeline.tokenizer = _Locked(self._pipeline.tokenizer)
        self._decode = decoder_of(self._pipeline, folder)

    def make(self, group: Sequence[Wish], tell: Tell) -> None:
        """Pictures for wishes of one kind, in one call; a preview of each that is watched after the first step."""
        view = copy.copy(self._pipeline)  # Diffusers' way to serve threads: shared weights, own scheduler
        kind = getattr(diffusers, _SAMPLERS[group[0].sampler])
        view.scheduler = kind.from_config(self._pipeline.scheduler.config)
        pictures = view(
            [wish.prompt for wish in group],
            num_inference_steps=group[0].steps,
            guidance_scale=group[0].guidance,
            width=group[0].width,
            height=group[0].height,
            generator=[torch.Generator("cpu").manual_seed(wish.seed) for wish in group],
            callback_on_step_end=self._on_step(group, tell),
        ).images
        for place, (wish, picture) in enumerate(zip(group, pictures, strict=True)):
            tell(place, _line("picture", _png(wish, picture)))

    def _on_step(self, group: Sequence[Wish], tell: Tell) -> Callable[..., dict[str, Any]]:
        def on_step(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if step == 0:
                for place in (place for place, wish in enumerate(group) if wish.is_watched):
                    preview = Previewer(self._decode, _hurried()).make(tensors["latents"][place : place + 1])
                    tell(place, _line("preview", preview or b""))
            return tensors

        return on_step


class _Locked:
    """A tokenizer that one thread calls at a time."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **named: Any) -> Any:
        with self._lock:
            return self._tokenizer(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def groups(wishes: Sequence[Wish], largest: int) -> list[list[int]]:
    """Places of the wishes that one call can serve: the same steps, guidance, sampler and size."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for place, wish in enumerate(wishes):
        found.setdefault((wish.steps, wish.guidance, wish.sampler, wish.width, wish.height), []).append(place)
    return [places[i : i + largest] for places in found.values() for i in range(0, len(places), largest)]


def _hurried() -> Callable[[], float]:
    """A clock by which enough time has passed for a preview."""
    ticks = iter(range(0, 10**6, 60))
    return lambda: float(next(ticks))


def _png(wish: Wish, picture: Image.Image) -> bytes:
    said = f"{wish.prompt}\nSteps: {wish.steps}, Sampler: {wish.sampler}, CFG scale: {wish.guidance}, Seed: {wish.seed}"
    return save(picture, "png", said, "{}").data


def _line(what: str, data: bytes) -> str:
    return f"{what} {base64.b64encode(data).decode()}\n"
