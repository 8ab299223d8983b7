"""References of images through IP-Adapters: loaded when a task first wants one, with cached tokens of each picture."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from bot.errors import InvalidOption
from bot.models import REFERENCE_KINDS, ModelSpec
from bot.ports import Task, TaskImage
from inference.diffusion.control.ip_adapter import IPAdapter, IPAdapterLoader
from inference.diffusion.embedding_cache import EmbeddingCache
from inference.diffusion.pipeline_run import PipelineRun, RunExtension
from inference.diffusion.reference_attention import ImageTokens, LayerWeights, install_processors, with_references
from inference.images.flatten import open_on_white

SDXL_STYLE_LAYERS = "up_blocks.0.attentions.1."
"""The layers of SDXL whose image tokens change the style only. Other families use all layers for both kinds.

Source: InstantStyle (arXiv 2404.02733); Diffusers' guide to IP-Adapter, "Style & layout control".
"""


class AdapterReferences(RunExtension):
    """Lets the images of Stable Diffusion models refer to pictures through the IP-Adapters in their `controls`."""

    def __init__(self, model: ModelSpec, pipeline: Any, before_load: Callable[[], None] = lambda: None) -> None:
        """`before_load`: called before adapters read and change the denoiser."""
        self._model, self._pipeline = model, pipeline
        self._before_load = before_load
        self._loader: IPAdapterLoader | None = None
        self._cache = EmbeddingCache()

    def capabilities(self) -> Mapping[str, Any]:
        kinds = [kind for kind in REFERENCE_KINDS if self._model.control_source(kind) is not None]
        return {"references": kinds} if kinds and self._is_supported else {}

    @property
    def _is_supported(self) -> bool:
        unet = getattr(self._pipeline, "unet", None)
        return unet is not None and getattr(unet, "encoder_hid_proj", None) is None

    def check_task(self, task: Task) -> Sequence[str]:
        for image in adapter_references(task):
            if not self._model.adapter_kind(image.kind) or not self._is_supported:
                raise InvalidOption(image.kind or "reference", "reference_lacks", value=self._model.name)
        return ()

    def prepare(self, run: PipelineRun) -> None:
        by_kind: dict[str, list[TaskImage]] = defaultdict(list)
        for image in adapter_references(run.task):
            if image.weight > 0:
                by_kind[self._model.adapter_kind(image.kind)].append(image)
        if not by_kind:
            return
        pairs = [self._make_tokens(kind, images) for kind, images in by_kind.items()]
        positive, negative = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        run.denoiser_filters.append(lambda call: with_references(call, positive, negative))

    def close(self) -> None:
        self._loader = None
        self._cache.clear()

    def _make_tokens(self, kind: str, images: Sequence[TaskImage]) -> tuple[ImageTokens, ImageTokens]:
        """The references of one kind, for rows with and without the prompt."""
        adapter, weights = self._load(kind)
        encoded = [self._encode(adapter, image) for image in images]
        scale = max(image.weight for image in images)
        counts = [len(tokens) for tokens, _ in encoded]
        bias = weight_bias([image.weight for image in images], counts, encoded[0][0])
        with_prompt, without = (
            ImageTokens(kind, weights, scale, torch.cat([pair[index] for pair in encoded]), bias) for index in (0, 1)
        )
        return with_prompt, without

    def _load(self, kind: str) -> tuple[IPAdapter, LayerWeights]:
        """The adapter, and its weights for the layers that serve this kind."""
        if self._loader is None:
            self._before_load()
            self._loader = IPAdapterLoader(self._model, self._pipeline.unet, self._pipeline._execution_device)
            install_processors(self._pipeline.unet)
        source = self._model.control_source(kind)
        assert source is not None, "checked before"
        adapter = self._loader.load(source)
        is_sdxl = self._pipeline.unet.config.addition_embed_type == "text_time"
        prefix = SDXL_STYLE_LAYERS if kind == "style" and is_sdxl else ""
        return adapter, adapter.weights_in(prefix)

    def _encode(self, adapter: IPAdapter, image: TaskImage) -> tuple[torch.Tensor, torch.Tensor]:
        key = (id(adapter), hashlib.sha256(image.media.data).digest())
        pair: tuple[torch.Tensor, torch.Tensor] = self._cache.get_or_encode(
            key, lambda: adapter.make_tokens(open_on_white(image.media.data))
        )
        return pair


def adapter_references(task: Task) -> list[TaskImage]:
    """The references that the task's model does not take itself."""
    if task.model.takes_references:
        return []
    return [image for image in task.images if image.role == "reference"]


def weight_bias(weights: Sequence[float], counts: Sequence[int], like: torch.Tensor) -> torch.Tensor | None:
    """For each token of all pictures, (tokens,); None: the pictures weigh the same."""
    if len(set(weights)) == 1:
        return None
    logarithms = [math.log(weight / max(weights)) for weight in weights]
    return torch.repeat_interleave(like.new_tensor(logarithms), torch.tensor(counts, device=like.device))
