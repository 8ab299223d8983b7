"""Small pictures of what a latent will become, cheap enough to make while it is made.

They may cost at most a tenth of the job's time: one that would cost more is left out.
"""

import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

EVERY_S = 0.5
_SHARE = 0.1
_SIDE = 128
_SMALL_DECODER = 8_000_000
"""Parameters; a decoder below that is used itself."""

_SD = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))
_SDXL = ((0.3920, 0.4054, 0.4549), (-0.2634, -0.0196, 0.0653), (0.0568, 0.1687, -0.0755), (-0.3112, -0.2359, -0.2076))
_FACTORS = {0.18215: _SD, 0.13025: _SDXL}
"""Linear latent-to-RGB factors by the autoencoder's scaling factor. Source: the Hugging Face forum, "Decoding latents
to RGB without upscaling" (SD), and ComfyUI's latent formats (SDXL)."""

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Latent, (1, channels, h, w), to RGB in [-1, 1], (1, 3, H, W)."""


LINEAR = "latent_rgb.safetensors"
"""In a model's folder: its own linear map, fitted by `training/fit_previews.py`."""


def decoder_of(pipeline: Any, folder: Path | None = None, tiny: Any = None) -> Decode | None:
    """The cheapest way to see this pipeline's latents, or None when there is none.

    Args:
        folder: where the model lies, and perhaps a linear map with it.
        tiny: the small autoencoder that the owner chose for it (TAESD).
    """
    vae = getattr(pipeline, "vae", None)
    scaling = getattr(getattr(vae, "config", None), "scaling_factor", None)
    if tiny is not None:
        return lambda latent: tiny.decode(latent.to(tiny.device, tiny.dtype), return_dict=False)[0]
    if scaling is None and hasattr(vae, "bn"):
        scaling = 1.0  # FLUX.2 normalises by statistics of its own, which `flow.unpacked` undoes
    if vae is None or scaling is None:
        return None
    if folder is not None and (folder / LINEAR).is_file():
        return linear(load_file(folder / LINEAR))
    if sum(p.numel() for p in vae.decoder.parameters()) <= _SMALL_DECODER:
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return lambda latent: vae.decode(_shrunk(vae, latent) / scaling + shift, return_dict=False)[0]
    factors = _FACTORS.get(round(scaling, 5))
    if factors is None or vae.config.latent_channels != len(factors):
        return None
    return lambda latent: torch.einsum("bchw,cr->brhw", latent.float(), latent.new_tensor(factors).float())


def linear(tensors: Mapping[str, torch.Tensor]) -> Decode:
    """`weight`, (3 x side x side, channels), and `bias`: each latent cell becomes a patch of side x side pixels."""
    weight, bias = tensors["weight"], tensors["bias"]
    side = math.isqrt(len(bias) // 3)

    def see(latent: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.conv2d(latent.float().cpu(), weight[..., None, None], bias)
        return torch.nn.functional.pixel_shuffle(patches, side)

    return see


def _shrunk(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    """A latent so small that decoding it gives about `_SIDE` pixels."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    longest = max(latent.shape[-2:])
    if longest * scale <= _SIDE:
        return latent
    factor = _SIDE / (longest * scale)
    return torch.nn.functional.interpolate(latent, scale_factor=factor, mode="area")


class Previewer:
    """Makes the previews of one task. `now` is a monotonic clock."""

    def __init__(self, decode: Decode | None, now: Callable[[], float] = time.monotonic) -> None:
        self._decode = decode
        self._now = now
        self._began = now()
        self._last = self._began - EVERY_S  # the first one may come at once
        self._spent_s = 0.0

    def make(self, latents: Any) -> bytes | None:
        """A JPEG of at most 128 pixels a side, or None: too soon, too dear, or not to be seen."""
        started = self._now()
        is_dear = self._spent_s > _SHARE * (started - self._began)
        if self._decode is None or is_dear or started - self._last < EVERY_S:
            return None
        if not isinstance(latents, torch.Tensor) or latents.dim() != 4:
            return None
        with torch.no_grad():
            rgb = self._decode(latents[:1].detach())[0]
        self._last = self._now()
        jpeg = _jpeg(rgb)
        self._spent_s += self._now() - started
        return jpeg


def _jpeg(rgb: torch.Tensor) -> bytes:
    """RGB in [-1, 1], (3, h, w)."""
    pixels = ((rgb.float().clamp(-1, 1) + 1) * 127.5).nan_to_num().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels)
    scale = _SIDE / max(image.size)
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return out.getvalue()
