"""ControlNets and T2I-Adapters in an image's pipeline run.

The stock pipeline of the family runs unchanged. Before each of its denoiser calls the controls are called with the same
latents and prompt, as Diffusers' ControlNet pipelines do, and their residuals are added to the call. So one mechanism
serves text-to-image, image-to-image and inpainting, with any number of controls of either kind. Outside of its start
and end a control is not called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from PIL import Image

from bot.ports import Task, TaskImage
from inference.checkpoints.control_layout import T2I_ADAPTER, UNION
from inference.diffusion.control.control_store import LoadedControl
from inference.diffusion.control.control_weights import UNION_MODES
from inference.diffusion.coroutines import ModuleCall, suspend
from inference.diffusion.inpainting import masked_area
from inference.diffusion.loader import call_parameters
from inference.diffusion.masks import keeps_size
from inference.diffusion.pipeline_run import PipelineRun
from inference.diffusion.tiling import set_tiling
from inference.images.flatten import cover_crop

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class AppliedControl:
    """One control image of a task, with its weights."""

    image: TaskImage
    control: LoadedControl

    def is_active(self, step: int, steps: int) -> bool:
        """Whether it counts in this step, as Diffusers rounds `control_guidance_start` and `control_guidance_end`."""
        return not (step / steps < self.image.start or (step + 1) / steps > self.image.end)


def control_images(task: Task) -> list[TaskImage]:
    """Those that have an effect."""
    return [image for image in task.images if image.role == "control" and image.weight > 0]


def fit_map(run: PipelineRun, image: TaskImage, size: Size) -> Image.Image:
    """The map at the computed size, (width, height), cropped as the input image is."""
    is_cropped = "mask_image" in call_parameters(run.pipeline)
    area = masked_area(run.task, size, is_cropped=is_cropped) if keeps_size(run.task) else None
    if area is None:
        return cover_crop(image.media.data, *size)
    return area.cut_out(cover_crop(image.media.data, *area.picture.size))


def count_steps(run: PipelineRun) -> int:
    """The denoiser's calls of the run. Pipelines without step callbacks do not count them."""
    return max(1, int(getattr(run.proxied, "num_timesteps", None) or len(run.proxied.scheduler.timesteps)))


def map_tensor(image: Image.Image, channels: int = 3) -> torch.Tensor:
    """Values in [0, 1], (1, channels, height, width)."""
    pixels = numpy.asarray(image.convert("L" if channels == 1 else "RGB")).astype(numpy.float32) / 255.0
    tensor = torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1)
    return tensor.permute(2, 0, 1).unsqueeze(0)


class UNetControls:
    """Adds the residuals of an image's controls to the calls of its UNet: a filter of `PipelineRun`."""

    def __init__(self, run: PipelineRun, controls: Sequence[AppliedControl], bind: Callable[[ModuleCall], Any]) -> None:
        """`bind`: gives a denoiser call's arguments by name."""
        self._run = run
        self._bind = bind
        self._adapters = [one for one in controls if one.control.class_name == T2I_ADAPTER]
        self._nets = [one for one in controls if one.control.class_name != T2I_ADAPTER]
        self._calls = 0
        self._maps: dict[int, torch.Tensor] = {}
        self._features: dict[int, list[torch.Tensor]] = {}

    def __call__(self, call: ModuleCall) -> ModuleCall:
        arguments = dict(self._bind(call))
        step, steps = self._calls, count_steps(self._run)
        self._calls += 1
        nets, adapters = ([one for one in kind if one.is_active(step, steps)] for kind in (self._nets, self._adapters))
        if nets:
            down, middle = self._residuals(nets, arguments)
            arguments |= {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        if adapters:
            arguments["down_intrablock_additional_residuals"] = self._adapter_features(adapters, arguments["sample"])
        return replace(call, args=(), kwargs=arguments) if nets or adapters else call

    # ------------------------------------------------------------ ControlNets

    def _residuals(
        self, nets: Sequence[AppliedControl], arguments: Mapping[str, Any]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The sum over the ControlNets. Those of one union are one call."""
        by_module: dict[str, list[AppliedControl]] = {}
        for index, one in enumerate(nets):
            is_union = one.control.class_name == UNION
            by_module.setdefault(one.control.name if is_union else str(index), []).append(one)
        total: tuple[list[torch.Tensor], torch.Tensor] | None = None
        for group in by_module.values():
            down, middle = self._call_net(group, arguments)
            if total is not None:
                down = [before + more for before, more in zip(total[0], down, strict=True)]
                middle = total[1] + middle
            total = down, middle
        assert total is not None
        return total

    def _call_net(
        self, group: Sequence[AppliedControl], arguments: Mapping[str, Any]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The residuals of one ControlNet, computed with weight 1, so that images of any weight share a pass."""
        control, sample = group[0].control, arguments["sample"]
        maps = [self._map(one, sample) for one in group]
        weights = [float(one.image.weight) for one in group]
        kwargs: dict[str, Any] = {
            "sample": sample[:, : control.module.config.in_channels],
            "timestep": arguments["timestep"],
            "encoder_hidden_states": arguments["encoder_hidden_states"],
            "controlnet_cond": maps[0],
            "conditioning_scale": 1.0,
            "added_cond_kwargs": _own_conditions(arguments.get("added_cond_kwargs")),
            "return_dict": False,
        }
        if control.class_name == UNION:
            kwargs |= _union_arguments(control, [one.image.kind for one in group], maps, arguments)
            kwargs["conditioning_scale"] = 1.0 if len(group) == 1 else weights
        down, middle = suspend(ModuleCall(control.name, "forward", (), kwargs, is_tiled=self._run.is_tiled))
        if len(group) > 1:
            return list(down), middle
        return [residual * weights[0] for residual in down], middle * weights[0]

    def _map(self, one: AppliedControl, sample: torch.Tensor) -> torch.Tensor:
        """The map for each row of the call."""
        if id(one) not in self._maps:
            config = one.control.module.config
            fitted = fit_map(self._run, one.image, self._size(sample))
            tensor = map_tensor(fitted, int(config.get("conditioning_channels", 3)))
            self._maps[id(one)] = tensor.to(sample.device, one.control.module.dtype)
        tensor = self._maps[id(one)]
        return tensor.expand(len(sample), *tensor.shape[1:])

    def _size(self, sample: torch.Tensor) -> Size:
        """Width and height of the image in pixels."""
        height, width = (side * self._run.pipeline.vae_scale_factor for side in sample.shape[-2:])
        return width, height

    # ------------------------------------------------------------ T2I-Adapters

    def _adapter_features(self, adapters: Sequence[AppliedControl], sample: torch.Tensor) -> list[torch.Tensor]:
        """The sum over the adapters, for each row of the call."""
        each = [self._weighted_features(one, sample) for one in adapters]
        summed = [sum(layers[1:], start=layers[0]) for layers in zip(*each, strict=True)]
        return [layer.expand(len(sample), *layer.shape[1:]) for layer in summed]

    def _weighted_features(self, one: AppliedControl, sample: torch.Tensor) -> list[torch.Tensor]:
        """An adapter reads the map once for the whole image."""
        if id(one) not in self._features:
            module = one.control.module
            fitted = fit_map(self._run, one.image, self._size(sample))
            tensor = map_tensor(fitted, int(module.config.in_channels)).to(sample.device, module.dtype)
            set_tiling(module, self._run.is_tiled)
            features = module(_pad_to_multiple(tensor, int(module.config.downscale_factor)))
            self._features[id(one)] = [feature * float(one.image.weight) for feature in features]
        return self._features[id(one)]


def _own_conditions(added: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The added conditions that ControlNets take: SDXL's sizes and pooled prompt, not an IP-Adapter's images."""
    kept = {name: value for name, value in (added or {}).items() if name in ("text_embeds", "time_ids")}
    return kept or None


def _union_arguments(
    control: LoadedControl, kinds: Sequence[str], maps: Sequence[torch.Tensor], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    modes = [UNION_MODES[kind] for kind in kinds]
    states: torch.Tensor = arguments["encoder_hidden_states"]
    types = torch.zeros(control.module.config.num_control_type).scatter_(0, torch.tensor(modes), 1)
    return {
        "controlnet_cond": list(maps),
        "control_type": types.to(states.device, states.dtype).expand(len(states), -1),
        "control_type_idx": modes,
    }


def _pad_to_multiple(tensor: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeats the pixels at the right and the bottom, so that both sides are multiples."""
    height, width = tensor.shape[-2:]
    more = (0, -width % multiple, 0, -height % multiple)
    return torch.nn.functional.pad(tensor, more, mode="replicate") if any(more) else tensor
