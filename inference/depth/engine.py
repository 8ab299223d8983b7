"""The depth engine: grey maps of how near everything in an image is, near is white, in one pass.

Depth Anything and DPT predict inverse depth up to an unknown scale, so each map is stretched to the whole range of
levels, as the maps are that depth ControlNets were trained on.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, DepthAnythingForDepthEstimation, DPTForDepthEstimation, DPTImageProcessorPil

from bot.errors import EngineError, ModelUnavailable
from bot.ports import Task
from inference.engine.single_pass import PassOutput, SinglePassEngine
from inference.images.flatten import open_on_white
from inference.ipc.messages import RawImage, TaskResult
from inference.memory.offload import ComponentOffloader, offloader_of
from inference.memory.precision import dtype_name
from inference.memory.transformers_loader import load_module

_CLASSES = {"depth_anything": DepthAnythingForDepthEstimation, "dpt": DPTForDepthEstimation}
_LEAST_METRES = 1e-3


@dataclass(frozen=True)
class DepthInput:
    """`pixels`: (1, 3, height, width) as the model reads them. `size`: width and height of the map."""

    pixels: torch.Tensor
    size: tuple[int, int]


class DepthEngine(SinglePassEngine[DepthInput]):
    _offloader: ComponentOffloader

    def _load(self, folder: Path, device: str) -> Mapping[str, Any]:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type not in _CLASSES:
            raise ModelUnavailable(self._model.name, f"{config.model_type} is no depth model that Easel can run")
        self._processor = DPTImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._network = load_module(_CLASSES[config.model_type], self._model, folder, device)
        offloader = offloader_of(self._network)
        assert offloader is not None
        self._offloader = offloader
        self._is_metric = getattr(config, "depth_estimation_type", "relative") == "metric"
        return {"dtype": dtype_name(self._network.dtype)}

    def _unload(self) -> None:
        del self._network, self._processor, self._offloader

    def _use_less_memory(self) -> str | None:
        return self._offloader.use_less_memory()

    def _prepare_input(self, task: Task) -> DepthInput:
        image = open_on_white(task.images[0].media.data)
        return DepthInput(self._processor(images=image, return_tensors="pt")["pixel_values"], image.size)

    def _batch_key(self, prepared: DepthInput) -> Hashable:
        return prepared.pixels.shape

    def _run_pass(self, tasks: Sequence[Task], inputs: Sequence[DepthInput]) -> list[PassOutput]:
        pixels = torch.cat([one.pixels for one in inputs]).to(self._offloader.device, self._network.dtype)
        depths = self._network(pixel_values=pixels).predicted_depth.float().cpu()
        if not torch.isfinite(depths).all():
            raise EngineError(detail=f"{self._model.name} predicted depths that are no numbers")
        return [self._answer(depth, one.size) for depth, one in zip(depths, inputs, strict=True)]

    def _answer(self, depth: torch.Tensor, size: tuple[int, int]) -> PassOutput:
        levels = nearness_levels(resize_depth(depth, size), is_metric=self._is_metric)
        image = RawImage(
            index=0,
            width=size[0],
            height=size[1],
            pixels=np.repeat(levels[..., None], 3, axis=2).tobytes(),
            seed=0,
            revision=self._revision,
            is_generated=False,
        )
        return PassOutput(result=TaskResult(revision=self._revision), images=(image,))


def resize_depth(depth: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """A prediction, (height, width), at another size. Source: `post_process_depth_estimation` of Transformers."""
    resized = torch.nn.functional.interpolate(depth[None, None], size=size[::-1], mode="bicubic", align_corners=False)
    pixels: NDArray[np.float32] = resized[0, 0].numpy()
    return pixels


def nearness_levels(depth: NDArray[np.float32], *, is_metric: bool = False) -> NDArray[np.uint8]:
    """8-bit levels, the nearest point 255 and the farthest 0. `is_metric`: the depths are distances, not inverse."""
    nearness = 1 / np.maximum(depth, _LEAST_METRES) if is_metric else depth
    lowest, highest = float(nearness.min()), float(nearness.max())
    if highest - lowest < 1e-6 * max(1.0, abs(highest)):
        return np.zeros(nearness.shape, np.uint8)
    return ((nearness - lowest) * (255 / (highest - lowest))).round().astype(np.uint8)
