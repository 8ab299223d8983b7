"""Places the components of a loaded model as its plan says, with Diffusers' and Accelerate's offloading.

A hook around its forward pass moves an offloaded component to the device and back, invisibly to callers;
`kept_on_device` keeps it there for several calls. If memory runs out, `use_less_memory` goes down one fallback level.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from accelerate.utils import send_to_device
from diffusers.hooks import HookRegistry, apply_group_offloading

from bot.memory.components import ComponentRole, component_role
from bot.memory.placement import DISCRETE_MEMORY_KINDS, PlacementPlan, Residency
from bot.memory.weights import FP8
from inference.memory.planner import MemoryPlan, device_kind
from inference.memory.quantization import cast_to_fp8, dtype_of

TILED, ON_DEMAND, STREAMED = "tiled", "on_demand", "streamed"
MODEL_OFFLOAD, GROUP_OFFLOAD, FLOAT_8 = "model_offload", "group_offload", "fp8"
"""Fallback levels, by their names in the log."""
_GROUP_HOOK = "group_offloading"
_BLOCKS_PER_GROUP = 1
"""Blocks of a streamed denoiser that are on the device at a time."""


class ComponentOffloader:
    """Places and moves the components of one model. `model`: the pipeline, or the module they belong to."""

    def __init__(self, model: Any, components: Mapping[str, torch.nn.Module], plan: MemoryPlan, device: str) -> None:
        self.plan = plan.plan
        self.keeps_original = plan.keeps_original
        """Whether there is memory for the torch denoiser beside a compiled one."""
        self.formats: list[str] = []
        """Of weights that are not in the model's number format, when it was loaded."""
        self._fallbacks = plan.fallbacks
        self._model = model
        self._components = dict(components)
        self._device = torch.device("cpu") if Residency.CPU in plan.plan.residencies else torch.device(device)
        self._kind = device_kind(device)
        self._apply_plan(plan.plan)

    @property
    def device(self) -> torch.device:
        """The device it computes on."""
        return self._device

    @property
    def uses_model_offload(self) -> bool:
        """Its components must not compute concurrently: each offloads the previous one."""
        return Residency.MODEL_OFFLOAD in self.plan.residencies

    def moves(self, name: str) -> bool:
        """Whether the component is not always on the device it computes on."""
        return self._residency_of(name) not in (Residency.RESIDENT, Residency.CPU)

    def add_component(self, name: str, component: torch.nn.Module) -> None:
        """Place a module that was loaded later, such as a ControlNet; it then follows the plan like the others."""
        self._components[name] = component
        self._place_added(name, component)

    def remove_component(self, name: str) -> None:
        """Forget a module that was added."""
        self._components.pop(name, None)

    @contextlib.contextmanager
    def kept_on_device(self, name: str) -> Iterator[None]:
        """Keep an on-demand component on the device during the block; no effect on other components."""
        hook = getattr(self._components.get(name), "_hf_hook", None)
        if not isinstance(hook, OffloadHook):
            yield
            return
        hook.holders += 1
        try:
            yield
        finally:
            hook.holders -= 1
            hook.offload(self._components[name])

    def use_less_memory(self) -> str | None:
        """Go down one fallback level after memory ran out. Returns its name; None: there is no further level."""
        if Residency.CPU in self.plan.residencies and not self.plan.is_tiled and enable_vae_tiling(self._components):
            self.plan = replace(self.plan, is_tiled=True)
            return TILED
        for plan in self._fallbacks:
            level = _fallback_level(self.plan, plan)
            if level is not None:
                self._remove_hooks(plan)
                self._apply_plan(plan)
                remaining = (one for one in self._fallbacks if one.cost > plan.cost and one.peak_mb < plan.peak_mb)
                self._fallbacks = tuple(remaining)
                return level
        return None

    # ------------------------------------------------------------ placing

    def _apply_plan(self, plan: PlacementPlan) -> None:
        before, self.plan = self.plan, plan
        cast = {name for name, one in plan.placements.items() if one.weights == FP8 != before.placements[name].weights}
        for name in cast & set(self._components):
            cast_to_fp8(self._components[name], dtype_of(self._components[name]))
        if plan.is_tiled:
            enable_vae_tiling(self._components)
        if Residency.MODEL_OFFLOAD in plan.residencies:
            self._model.enable_model_cpu_offload(device=self._device)
            own = self._model.components
            for name, component in self._components.items():
                if name not in own:
                    self._place_added(name, component)
            return
        for name, component in self._components.items():
            self._place(name, component, self._residency_of(name))
        self._place_other_tensors()

    def _residency_of(self, name: str) -> Residency:
        return _residency_in(self.plan, name)

    def _place_added(self, name: str, component: torch.nn.Module) -> None:
        """It is not part of the pipeline, whose own offloading does not know it."""
        self._place(name, component, Residency.ON_DEMAND if self.moves(name) else Residency.RESIDENT)

    def _place_other_tensors(self) -> None:
        """Tensors of the model outside its components, such as BLIP-2's query tokens."""
        if not isinstance(self._model, torch.nn.Module):
            return
        placed = {id(tensor) for component in self._components.values() for tensor in _tensors_of(component)}
        for tensor in _tensors_of(self._model):
            if id(tensor) not in placed:
                tensor.data = tensor.data.to(self._device)

    def _place(self, name: str, component: torch.nn.Module, place: Residency) -> None:
        is_streamed = _is_streamed(component)
        if place is Residency.ON_DEMAND:
            add_hook_to_module(component, OffloadHook(self._device))
        elif place is Residency.STREAMED and not is_streamed:
            self._stream(name, component)
        elif not is_streamed:
            component.to(self._device)

    def _stream(self, name: str, component: torch.nn.Module) -> None:
        """Stream a denoiser by blocks; a text encoder, whose blocks are nested deeper, by layers."""
        by_blocks = component_role(name) is ComponentRole.DENOISER
        apply_group_offloading(
            component,
            onload_device=self._device,
            offload_device=torch.device("cpu"),
            offload_type="block_level" if by_blocks else "leaf_level",
            num_blocks_per_group=_BLOCKS_PER_GROUP if by_blocks else None,
            use_stream=self._device.type in DISCRETE_MEMORY_KINDS,
        )

    def _remove_hooks(self, following: PlacementPlan) -> None:
        """Remove all hooks and move what the following plan offloads to RAM."""
        for component in self._components.values():
            if hasattr(component, "_hf_hook"):
                remove_hook_from_module(component, recurse=True)
        if isinstance(self._model, torch.nn.Module):
            return
        if Residency.MODEL_OFFLOAD in self.plan.residencies:
            self._model.remove_all_hooks()
            self._model._all_hooks = []
        if not following.is_fully_resident:
            for name, component in self._components.items():
                if _residency_in(following, name) is not Residency.RESIDENT and not _is_streamed(component):
                    component.to("cpu")


class OffloadHook(ModelHook):
    """Moves a module to the device for its forward pass, then back to RAM, unless it is held there."""

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device
        self.holders = 0

    def init_hook(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to("cpu")

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        module.to(self.execution_device)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)

    def post_forward(self, module: torch.nn.Module, output: Any) -> Any:
        self.offload(module)
        return output

    def offload(self, module: torch.nn.Module) -> None:
        if not self.holders:
            module.to("cpu")


def enable_vae_tiling(components: Mapping[str, Any]) -> bool:
    """Let decoders work in slices and tiles; False if none supports it."""
    is_supported = False
    for component in components.values():
        for name in ("enable_slicing", "enable_tiling"):
            if hasattr(component, name):
                getattr(component, name)()
                is_supported = True
    return is_supported


def offloader_of(model: Any) -> ComponentOffloader | None:
    """The offloader that a loader attached to the model."""
    offloader = getattr(model, "offloader", None)
    return offloader if isinstance(offloader, ComponentOffloader) else None


def uses_model_offload(model: Any) -> bool:
    """Whether its components evict each other from the device, so no two may compute at the same time."""
    offloader = offloader_of(model)
    return offloader is not None and offloader.uses_model_offload


def weights_capability(model: Any) -> dict[str, list[str]]:
    """What an engine says of the formats of its weights; nothing if they are all in the model's number format."""
    offloader = offloader_of(model)
    return {"weights": offloader.formats} if offloader is not None and offloader.formats else {}


def components_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    """A pipeline's components that have weights."""
    return {name: one for name, one in pipeline.components.items() if isinstance(one, torch.nn.Module)}


def _residency_in(plan: PlacementPlan, name: str) -> Residency:
    """Where the plan places a component; the plan has one entry for all controls."""
    places = plan.placements
    placement = places.get(name) or places.get(name.partition(".")[0]) or places.get(component_role(name))
    return placement.residency if placement is not None else Residency.RESIDENT


def _fallback_level(current: PlacementPlan, following: PlacementPlan) -> str | None:
    """The name of the change from one plan to another; None: not possible while the model is loaded."""
    is_cast = _is_cast_by(current, following)
    if is_cast is None or (is_cast and current.is_group_offloaded):
        return None
    if Residency.STREAMED in current.residencies and following.residencies & {
        Residency.MODEL_OFFLOAD,
        Residency.ON_DEMAND,
    }:
        return None
    if Residency.CPU in following.residencies or (current.is_tiled and not following.is_tiled):
        return None
    if following.is_group_offloaded:
        return GROUP_OFFLOAD
    if is_cast:
        return FLOAT_8
    order = ((Residency.MODEL_OFFLOAD, MODEL_OFFLOAD), (Residency.STREAMED, STREAMED), (Residency.ON_DEMAND, ON_DEMAND))
    changes = [level for place, level in order if place in following.residencies - current.residencies]
    return changes[0] if changes else TILED if following.is_tiled and not current.is_tiled else None


def _is_cast_by(current: PlacementPlan, following: PlacementPlan) -> bool | None:
    """Whether the following plan stores more components as 8-bit floats, the only format that a loaded model can still
    get; None: other formats change."""
    before = {name: placement.weights for name, placement in current.placements.items()}
    after = {name: placement.weights for name, placement in following.placements.items()}
    changed = {name for name in before if before[name] != after.get(name, "")}
    if any(before[name] or after[name] != FP8 for name in changed):
        return None
    return bool(changed)


def _tensors_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _is_streamed(component: torch.nn.Module) -> bool:
    registry: HookRegistry | None = getattr(component, "_diffusers_hook", None)
    registries = [registry, *(getattr(module, "_diffusers_hook", None) for module in component.modules())]
    return any(one is not None and one.get_hook(_GROUP_HOOK) is not None for one in registries)
