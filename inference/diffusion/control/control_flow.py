"""Z-Image's ControlNets in an image's pipeline run: their latents of the map, and what they add to the transformer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from inference.diffusion.batching_flow import padded_row_length
from inference.diffusion.control.control_run import AppliedControl, count_steps, fit_map
from inference.diffusion.coroutines import ModuleCall, suspend
from inference.diffusion.pipeline_run import PipelineRun

BLOCK_SAMPLES = "controlnet_block_samples"


class TransformerControls:
    """Adds the hints of an image's controls to the calls of its transformer: a filter of `PipelineRun`."""

    def __init__(self, run: PipelineRun, controls: Sequence[AppliedControl], bind: Callable[[ModuleCall], Any]) -> None:
        """`bind`: gives a denoiser call's arguments by name."""
        self._run = run
        self._controls = controls
        self._bind = bind
        self._calls = 0
        self._latents: dict[int, torch.Tensor] = {}

    def __call__(self, call: ModuleCall) -> ModuleCall:
        arguments = dict(self._bind(call))
        step, steps = self._calls, count_steps(self._run)
        self._calls += 1
        active = [one for one in self._controls if one.is_active(step, steps)]
        if not active:
            return call
        total: dict[int, torch.Tensor] = {}
        for one in active:
            for layer, hint in self._hints(one, arguments).items():
                total[layer] = total[layer] + hint if layer in total else hint
        return replace(call, args=(), kwargs=arguments | {BLOCK_SAMPLES: total})

    def _hints(self, one: AppliedControl, arguments: Mapping[str, Any]) -> dict[int, torch.Tensor]:
        """By layer, (rows, tokens, width); a shared pass may have padded them to the tokens of a longer row."""
        rows = arguments["x"]
        latents = self._map_latents(one, rows[0])
        kwargs = {
            "x": rows,
            "t": arguments["t"],
            "cap_feats": arguments["cap_feats"],
            "control_context": [latents for _ in rows],
            "conditioning_scale": float(one.image.weight),
        }
        hints: Mapping[int, torch.Tensor] = suspend(ModuleCall(one.control.name, "forward", (), kwargs))
        tokens = padded_row_length(arguments)
        return {layer: hint[:, :tokens] for layer, hint in hints.items()}

    def _map_latents(self, one: AppliedControl, row: torch.Tensor) -> torch.Tensor:
        """(channels, 1, h, w), with as many channels as the control takes; more than the latents' are zeros."""
        if id(one) not in self._latents:
            pipeline = self._run.proxied
            height, width = (side * pipeline.vae_scale_factor for side in row.shape[-2:])
            fitted = fit_map(self._run, one.image, (width, height))
            pixels = pipeline.image_processor.preprocess(fitted, height=height, width=width)
            vae = pipeline.vae
            encoded = vae.encode(pixels.to(row.device, vae.dtype)).latent_dist.mode()
            latents = ((encoded - vae.config.shift_factor) * vae.config.scaling_factor)[0].unsqueeze(1)
            missing = int(one.control.module.config.control_in_dim) - len(latents)
            zeros = latents.new_zeros((max(0, missing), *latents.shape[1:]))
            self._latents[id(one)] = torch.cat([latents, zeros]).to(row.dtype)
        return self._latents[id(one)]
