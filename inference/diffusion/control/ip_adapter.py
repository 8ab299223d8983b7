"""Loads IP-Adapters, and makes image tokens of reference pictures with them: safetensors only, no downloads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from safetensors import safe_open
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from bot.errors import ModelUnavailable
from bot.models import ControlSource, ModelSpec
from inference.checkpoints.reference_files import AdapterFiles, find_adapter, find_image_encoder
from inference.diffusion.reference_attention import LayerWeights, cross_attention_layers

_PARTS = ("image_proj", "ip_adapter")
_FEATURE_SIZES = {"proj.weight": "projection_dim", "proj_in.weight": "hidden_size", "proj.3.weight": "hidden_size"}
"""By a weight of the projection that only its variant has (plain, plus, full): the size in the image encoder's config
that its features have. Other variants take face embeddings."""


@dataclass(frozen=True, eq=False)
class IPAdapter:
    """Attributes:
    weights: by attention layer.
    projection: makes image tokens of an encoder's features.
    encoder: the image encoder, shared by the adapters that use it.
    """

    weights: LayerWeights
    projection: torch.nn.Module
    encoder: "ReferenceEncoder"
    _selected: dict[str, LayerWeights] = field(default_factory=dict)

    @property
    def takes_hidden_states(self) -> bool:
        """It takes the features of all patches, not one embedding of the picture."""
        return not isinstance(self.projection, ImageProjection)

    def weights_in(self, prefix: str) -> LayerWeights:
        """Those of the layers whose names begin so; always the same object for equal prefixes."""
        if prefix not in self._selected:
            found = {name: pair for name, pair in self.weights.items() if name.startswith(prefix)}
            self._selected[prefix] = found or self.weights
        return self._selected[prefix]

    def make_tokens(self, picture: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the picture, (tokens, channels), and of no picture, for rows without the prompt."""
        features = self.encoder.encode(picture, self.takes_hidden_states)
        tokens, without = (self.projection(one)[0] for one in features)
        return tokens, without


@dataclass(eq=False)
class ReferenceEncoder:
    """A CLIP vision model, in RAM while it does not encode. `device`: where it encodes."""

    model: Any
    device: torch.device
    processor: Any = field(init=False)

    def __post_init__(self) -> None:
        size = self.model.config.image_size
        self.processor = CLIPImageProcessorPil(size=size, crop_size=size)

    def encode(self, picture: Image.Image, takes_hidden_states: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of the picture and of no picture, as the stock pipelines encode them."""
        pixels = self.processor(picture, return_tensors="pt").pixel_values.to(self.device, self.model.dtype)
        self.model.to(self.device)
        try:
            if not takes_hidden_states:
                embedding = self.model(pixels).image_embeds
                return embedding, torch.zeros_like(embedding)
            found, without = (
                self.model(one, output_hidden_states=True).hidden_states[-2]
                for one in (pixels, torch.zeros_like(pixels))
            )
            return found, without
        finally:
            self.model.to("cpu")


class IPAdapterLoader:
    """Loads the adapters of one model, each file and each image encoder once."""

    def __init__(self, model: ModelSpec, unet: Any, device: torch.device) -> None:
        self._model, self._unet, self._device = model, unet, device
        self._adapters: dict[Path, IPAdapter] = {}
        self._encoders: dict[Path, ReferenceEncoder] = {}

    def load(self, source: ControlSource) -> IPAdapter:
        """Raises: ModelUnavailable, OutOfMemory."""
        files = find_adapter(self._model, source)
        if files.weights not in self._adapters:
            self._adapters[files.weights] = self._load(files)
        return self._adapters[files.weights]

    def _load(self, files: AdapterFiles) -> IPAdapter:
        state = _read_state(files.weights)
        name = files.weights.name
        if not all(state.values()):
            raise ModelUnavailable(self._model.name, f"{name} is not an IP-Adapter")
        if not any(key in state["image_proj"] for key in _FEATURE_SIZES):
            raise ModelUnavailable(self._model.name, f"{name} takes face embeddings, which are not supported")
        try:
            projection = self._unet._convert_ip_adapter_image_proj_to_diffusers(
                state["image_proj"], low_cpu_mem_usage=False
            )
            weights = self._layer_weights(state["ip_adapter"])
        except (KeyError, RuntimeError, ValueError) as error:  # of a projection or layers of another kind
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ModelUnavailable(self._model.name, f"{name} does not fit it: {error}") from error
        projection.to(self._device, self._unet.dtype).eval()
        return IPAdapter(weights, projection, self._load_encoder(files, state["image_proj"]))

    def _layer_weights(self, state: Mapping[str, torch.Tensor]) -> LayerWeights:
        """Published adapters number the processors of all attention layers; those with text have odd numbers."""
        weights = {}
        width = self._unet.config.cross_attention_dim
        for index, layer in enumerate(cross_attention_layers(self._unet)):
            pair = tuple(state[f"{2 * index + 1}.{part}.weight"] for part in ("to_k_ip", "to_v_ip"))
            hidden = self._unet.get_submodule(layer.removesuffix(".processor")).to_k.out_features
            if any(tuple(one.shape) != (hidden, width) for one in pair):
                raise ValueError(f"its layer {index + 1} is {tuple(pair[0].shape)}, not {(hidden, width)}")
            weights[layer] = tuple(one.to(self._device, self._unet.dtype) for one in pair)
        if len(state) != 2 * len(weights):
            raise ValueError(f"it has {len(state) // 2} layers, not {len(weights)}")
        return weights

    def _load_encoder(self, files: AdapterFiles, projection: Mapping[str, torch.Tensor]) -> ReferenceEncoder:
        size_name, size = _feature_size(projection)
        folder = find_image_encoder(self._model, files, size_name, size)
        if folder not in self._encoders:
            try:
                encoder = CLIPVisionModelWithProjection.from_pretrained(
                    folder, dtype=self._unet.dtype, use_safetensors=True, local_files_only=True
                )
            except Exception as error:  # the libraries raise many types for other models
                raise ModelUnavailable(self._model.name, f"its image encoder does not load: {error}") from error
            self._encoders[folder] = ReferenceEncoder(encoder.eval(), self._device)
        return self._encoders[folder]


def _read_state(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each part, by their names in it."""
    state: dict[str, dict[str, torch.Tensor]] = {part: {} for part in _PARTS}
    with safe_open(path, framework="pt", device="cpu") as file:
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            part, _, name = key.partition(".")
            if part in state:
                state[part][name] = file.get_tensor(key)
    return state


def _feature_size(projection: Mapping[str, torch.Tensor]) -> tuple[str, int]:
    """What the image encoder must have: the name in its config, and the size of its features."""
    key = next(key for key in _FEATURE_SIZES if key in projection)
    return _FEATURE_SIZES[key], projection["proj.0.weight" if key == "proj.3.weight" else key].shape[-1]
