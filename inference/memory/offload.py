"""Puts the parts of a loaded model where its plan says, by Diffusers' and Accelerate's own means.

A part that comes and goes does so by a hook around its forward pass, so whoever calls it need not know; `placed` keeps
it there for several calls. When memory runs out all the same, `save` goes one rung down.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from accelerate.utils import send_to_device
from diffusers.hooks import HookRegistry, apply_group_offloading

from bot.memory.components import Role, role_of
from bot.memory.placement import OWN_MEMORY, Place, Plan
from inference.memory.planner import Choice, kind_of

TILED, PHASED, STREAMED, TURNS, CRAWLING = "tiled", "phased", "streamed", "turns", "crawling"
"""Rungs of the ladder, as the log names them."""
_GROUP_HOOK = "group_offloading"
_BLOCKS = 1
"""Blocks of a streamed denoiser that are on the device at a time."""


class Placement:
    """Where the parts of one model are. `whole`: the pipeline, or the model that the parts belong to."""

    def __init__(self, whole: Any, parts: Mapping[str, torch.nn.Module], choice: Choice, device: str) -> None:
        self.plan = choice.plan
        self._more = choice.more
        self._whole = whole
        self._parts = parts
        self._device = torch.device("cpu") if Place.CPU in choice.plan.places else torch.device(device)
        self._kind = kind_of(device)
        self._put(choice.plan)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def takes_turns(self) -> bool:
        """No two of its parts may compute at once: each sends the one before it away."""
        return Place.TURNS in self.plan.places

    @contextlib.contextmanager
    def placed(self, name: str) -> Iterator[None]:
        """Keep a part that comes and goes on the device for all calls inside; does nothing for any other."""
        hook = getattr(self._parts.get(name), "_hf_hook", None)
        if not isinstance(hook, Visit):
            yield
            return
        hook.stays += 1
        try:
            yield
        finally:
            hook.stays -= 1
            hook.leave(self._parts[name])

    def save(self) -> str | None:
        """Memory ran out: take less of it from now on. Returns the rung that was taken; None: there is none left."""
        if Place.CPU in self.plan.places and not self.plan.is_tiled and tile(self._parts):
            self.plan = replace(self.plan, is_tiled=True)
            return TILED
        for plan in self._more:
            rung = _rung(self.plan, plan)
            if rung is not None:
                self._clear(plan)
                self._put(plan)
                self._more = tuple(one for one in self._more if one.cost > plan.cost and one.peak_mb < plan.peak_mb)
                return rung
        return None

    # ------------------------------------------------------------ putting

    def _put(self, plan: Plan) -> None:
        self.plan = plan
        if plan.is_tiled:
            tile(self._parts)
        if Place.TURNS in plan.places:
            self._whole.enable_model_cpu_offload(device=self._device)
            return
        for name, part in self._parts.items():
            self._seat(name, part, plan.seats[name].place if name in plan.seats else Place.RESIDENT)
        self._put_rest()

    def _put_rest(self) -> None:
        """What belongs to the model and to none of its parts, such as BLIP-2's query tokens."""
        if not isinstance(self._whole, torch.nn.Module):
            return
        known = {id(one) for part in self._parts.values() for one in (*part.parameters(), *part.buffers())}
        for one in (*self._whole.parameters(), *self._whole.buffers()):
            if id(one) not in known:
                one.data = one.data.to(self._device)

    def _seat(self, name: str, part: torch.nn.Module, place: Place) -> None:
        is_streamed = _is_streamed(part)
        if place is Place.PHASED:
            add_hook_to_module(part, Visit(self._device))
        elif place is Place.STREAMED and not is_streamed:
            self._stream(name, part)
        elif not is_streamed:
            part.to(self._device)

    def _stream(self, name: str, part: torch.nn.Module) -> None:
        """A denoiser by its blocks; a text encoder, whose blocks lie deeper, by its layers."""
        by_blocks = role_of(name) is Role.DENOISER
        apply_group_offloading(
            part,
            onload_device=self._device,
            offload_device=torch.device("cpu"),
            offload_type="block_level" if by_blocks else "leaf_level",
            num_blocks_per_group=_BLOCKS if by_blocks else None,
            use_stream=self._device.type in OWN_MEMORY,
        )

    def _clear(self, following: Plan) -> None:
        """Take away the hooks that the following plan does not want."""
        for part in self._parts.values():
            if hasattr(part, "_hf_hook"):
                remove_hook_from_module(part, recurse=True)
        if isinstance(self._whole, torch.nn.Module):
            return
        if Place.TURNS in self.plan.places:
            self._whole.remove_all_hooks()
            self._whole._all_hooks = []
        if not following.is_whole:
            for name, part in self._parts.items():
                if following.seats[name].place is not Place.RESIDENT and not _is_streamed(part):
                    part.to("cpu")


class Visit(ModelHook):
    """Brings a module to the device for its forward pass, and back to main memory after it."""

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device
        self.stays = 0

    def init_hook(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to("cpu")

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        module.to(self.execution_device)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)

    def post_forward(self, module: torch.nn.Module, output: Any) -> Any:
        self.leave(module)
        return output

    def leave(self, module: torch.nn.Module) -> None:
        if not self.stays:
            module.to("cpu")


def tile(parts: Mapping[str, Any]) -> bool:
    """Let decoders work in slices and tiles; False when none can."""
    found = False
    for part in parts.values():
        for name in ("enable_slicing", "enable_tiling"):
            if hasattr(part, name):
                getattr(part, name)()
                found = True
    return found


def placement_of(model: Any) -> Placement | None:
    """Of what a loader returned, or a copy of it."""
    found = getattr(model, "placement", None)
    return found if isinstance(found, Placement) else None


def parts_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    """A pipeline's components that have weights."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def _rung(now: Plan, then: Plan) -> str | None:
    """What the step from one plan to another is called; None: it cannot be taken while the model is loaded."""
    if {name for name, seat in now.seats.items() if seat.is_small} != {
        name for name, seat in then.seats.items() if seat.is_small
    }:
        return None
    if Place.STREAMED in now.places and then.places & {Place.TURNS, Place.PHASED}:
        return None
    if Place.CPU in then.places or (now.is_tiled and not then.is_tiled):
        return None
    if then.is_crawling:
        return CRAWLING
    order = ((Place.TURNS, TURNS), (Place.STREAMED, STREAMED), (Place.PHASED, PHASED))
    moved = [name for place, name in order if place in then.places - now.places]
    return moved[0] if moved else TILED if then.is_tiled and not now.is_tiled else None


def _is_streamed(part: torch.nn.Module) -> bool:
    registry: HookRegistry | None = getattr(part, "_diffusers_hook", None)
    hooks = [registry, *(getattr(one, "_diffusers_hook", None) for one in part.modules())]
    return any(one is not None and one.get_hook(_GROUP_HOOK) is not None for one in hooks)
