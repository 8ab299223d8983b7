"""An image model that is being trained: its pipeline, its denoiser with a LoRA on attention, renders, and latents."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageOps
from torch import Tensor

from bot.commands import Imagine
from bot.errors import TrainingRefused
from bot.memory.fit import format_gib
from bot.memory.placement import Residency
from bot.models import TEXT_TO_IMAGE, TORCH, ModelSpec
from bot.ports import Task
from inference.checkpoints.prequantized import read_prequantized
from inference.checkpoints.resolve import model_path, model_revision
from inference.diffusion.loader import denoiser_name, load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.learning.adapter_folder import WEIGHTS, base_model_name
from inference.learning.denoiser_calls import DenoiserCalls
from inference.learning.image_families import FAMILIES, list_attention_layers
from inference.learning.noise_levels import make_noise
from inference.learning.training_loop import can_train_in_bfloat16
from inference.memory.planner import free_memory_budget, memory_needs

RANK = 16
ADAPTER = "default"
LARGE = 500_000_000
"""Weights of a denoiser from which activations are computed again rather than kept."""
_CELL = 32
"""Pixels of which the sides of all families' pictures may be multiples."""
_ACTIVATION_SHARE = 0.5
"""Memory for gradients, optimizer and activations, as a share of the weights."""


class TrainedImageModel:
    """Loaded without its compiled or quantized forms: in float32, or in bfloat16 where the card trains in it.

    Raises: TrainingRefused; ModelUnavailable, OutOfMemory; what the libraries raise.
    """

    def __init__(self, spec: ModelSpec, device: str) -> None:
        dtype = "bfloat16" if can_train_in_bfloat16(device) else "float32"
        self.spec = replace(spec, dtype=dtype, quantize="none", backend=TORCH)
        self.device = device
        self.folder = model_path(self.spec)
        self.revision = model_revision(self.spec, self.folder)
        _require_trainable(self.spec, self.folder)
        _require_memory(self.spec, self.folder, device)
        self.pipeline = load_pipeline(self.spec, self.folder, device)
        _require_resident(self.spec, self.pipeline)
        name = type(self.pipeline).__name__
        if name not in FAMILIES:
            detail = f"trainings know {', '.join(sorted(FAMILIES))}, but not {name}"
            raise TrainingRefused("model", model=spec.display_name, detail=detail)
        self.family = FAMILIES[name]
        self.component = denoiser_name(self.pipeline)
        self.denoiser = getattr(self.pipeline, self.component)
        self.noise = make_noise(self.pipeline.scheduler, self.family, spec.display_name)
        self.calls = DenoiserCalls(self.denoiser, self.family, self._run_once)
        self._freeze()

    @property
    def size(self) -> tuple[int, int]:
        """Of pictures that it is trained on: width, height."""
        width, height = (max(_CELL, side // _CELL * _CELL) for side in (self.spec.width, self.spec.height))
        return width, height

    @property
    def is_large(self) -> bool:
        return sum(parameter.numel() for parameter in self.denoiser.parameters()) >= LARGE

    def _freeze(self) -> None:
        for component in self.pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                component.requires_grad_(False).eval()

    # ------------------------------------------------------------ LoRA

    def add_adapter(self, seed: int) -> dict[str, torch.nn.Parameter]:
        """Add the LoRA, which changes nothing yet; returns its parameters, in float32."""
        self.config = LoraConfig(
            r=RANK,
            lora_alpha=RANK,
            init_lora_weights="gaussian",
            target_modules=list_attention_layers(self.denoiser),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.denoiser.add_adapter(self.config, adapter_name=ADAPTER)
        cast_training_params(self.denoiser, torch.float32)
        if self.is_large:
            self.denoiser.enable_gradient_checkpointing()
        return {name: one for name, one in self.denoiser.named_parameters() if one.requires_grad}

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """As the model was, which is also the teacher of what must stay."""
        self.denoiser.disable_adapters()
        try:
            yield
        finally:
            self.denoiser.enable_adapters()

    def save_adapter(self, folder: Path) -> None:
        """In Diffusers' layout, for `load_lora_weights`, with PEFT's configuration beside it."""
        layers = {name: value.cpu() for name, value in get_peft_model_state_dict(self.denoiser).items()}
        arguments = {
            f"{self.component}_lora_layers": layers,
            f"{self.component}_lora_adapter_metadata": _as_json(self.config),
        }
        self.pipeline.save_lora_weights(folder, weight_name=WEIGHTS, safe_serialization=True, **arguments)
        self.config.base_model_name_or_path = base_model_name(self.spec)
        self.config.inference_mode = True
        self.config.save_pretrained(str(folder))

    # ------------------------------------------------------------ pictures

    def encode(self, image: Image.Image) -> Tensor:
        """Its latents, one row, in float32 in main memory, of the picture cropped to the model's size."""
        fitted = ImageOps.fit(image.convert("RGB"), self.size, Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        return self.family.encode(self.pipeline, pixels).float().cpu()

    def render(self, prompt: str, seed: int, on_step: Callable[[], None]) -> Image.Image:
        """The picture of a prompt, as Easel makes it."""
        pixels, _ = generate(self.pipeline, self.task(prompt, seed), seed, lambda *_: on_step())
        return Image.fromarray(pixels)

    def task(self, prompt: str, seed: int) -> Task:
        """The request of a picture, with the model's own settings."""
        width, height = self.size
        options = {
            "prompt": prompt,
            "negative_prompt": "",
            "steps": self.spec.steps,
            "guidance_scale": self.spec.guidance_scale,
            "width": width,
            "height": height,
            "count": 1,
            "seed": seed,
        }
        return Task(id="training", command=Imagine.name, task=TEXT_TO_IMAGE, model=self.spec, options=options)

    def _run_once(self, prompt: str) -> None:
        task = self.task(prompt, 0)
        options = {**task.options, "guidance_scale": 0.0 if self.family.is_flow else 1.0}
        generate(self.pipeline, replace(task, options=options), 0, lambda *_: None)


def _as_json(config: LoraConfig) -> dict[str, Any]:
    """Diffusers writes it into the file's header."""
    values = config.to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}


def _require_trainable(spec: ModelSpec, folder: Path) -> None:
    """Raises: TrainingRefused."""
    if TEXT_TO_IMAGE not in spec.tasks:
        raise TrainingRefused("wrong_model", model=spec.display_name)
    if spec.is_gguf or read_prequantized(folder).method:
        detail = "its weights are quantized in their files; train its base model"
        raise TrainingRefused("model", model=spec.display_name, detail=detail)


def _require_memory(spec: ModelSpec, folder: Path, device: str) -> None:
    """Raises: TrainingRefused: the device or the machine has too little for whole weights and their training."""
    budget = free_memory_budget(device)
    dtype = getattr(torch, spec.dtype)
    needs = memory_needs(spec, folder, dtype, has_accelerator=budget.kind != "cpu")
    needed = round(needs.size_mb * (1 + _ACTIVATION_SHARE)) + spec.activation_mb
    free = budget.device_mb or budget.ram_mb
    if free and needed > free:
        raise TrainingRefused("memory", needed=format_gib(needed), free=format_gib(free))


def _require_resident(spec: ModelSpec, pipeline: Any) -> None:
    """Raises: TrainingRefused: its components take turns on the device."""
    if pipeline.offloader.plan.residencies - {Residency.RESIDENT, Residency.CPU}:
        raise TrainingRefused("model", model=spec.display_name, detail="it does not fit the memory as a whole")
