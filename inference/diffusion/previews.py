"""Progress previews: small approximate decodes of latents.

They use at most a tenth of the job's time; previews beyond that are skipped. If one runs out of memory, its image gets
no others.
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

from inference.diffusion.shared_component import SharedComponent
from inference.engine.error_mapping import is_out_of_memory
from inference.images.metadata import xmp_packet

MIN_INTERVAL_S = 0.5
_MAX_TIME_SHARE = 0.1
_MAX_SIDE = 128
_MARK = xmp_packet("").encode()
"""Previews are marked as generated like the images that they become."""
_SMALL_DECODER_PARAMETERS = 8_000_000
"""VAE decoders up to this many parameters are used themselves."""

_SD = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))
_SDXL = ((0.3920, 0.4054, 0.4549), (-0.2634, -0.0196, 0.0653), (0.0568, 0.1687, -0.0755), (-0.3112, -0.2359, -0.2076))
_RGB_FACTORS = {0.18215: _SD, 0.13025: _SDXL}
"""Linear latent-to-RGB factors by the autoencoder's scaling factor. Source: the Hugging Face forum, "Decoding latents
to RGB without upscaling" (SD), and ComfyUI's latent formats (SDXL)."""

PreviewDecoder = Callable[[torch.Tensor], torch.Tensor]
"""Latent, (1, channels, h, w), to RGB in [-1, 1], (1, 3, H, W)."""


LINEAR_DECODER_FILE = "latent_rgb.safetensors"
"""In a model's folder: its own linear latent-to-RGB map, fitted by `training/fit_previews.py`."""


def preview_decoder(
    pipeline: Any, folder: Path | None = None, tiny: Any = None, shared_vae: SharedComponent | None = None
) -> PreviewDecoder | None:
    """The cheapest decoder of this pipeline's latents, or None.

    Args:
        folder: of the model, which may contain a linear map.
        tiny: the tiny autoencoder (TAESD) that the owner configured.
        shared_vae: the pipeline's VAE, if other threads call it too.
    """
    vae = getattr(pipeline, "vae", None)
    scaling = getattr(getattr(vae, "config", None), "scaling_factor", None)
    if tiny is not None:
        return lambda latent: tiny.decode(latent.to(tiny.device, tiny.dtype), return_dict=False)[0]
    if scaling is None and hasattr(vae, "bn"):
        scaling = 1.0  # FLUX.2 normalises by batch-norm statistics, which `unpack_latents` undoes
    if vae is None or scaling is None:
        return None
    if folder is not None and (folder / LINEAR_DECODER_FILE).is_file():
        return linear_decoder(load_file(folder / LINEAR_DECODER_FILE))
    if sum(p.numel() for p in vae.decoder.parameters()) <= _SMALL_DECODER_PARAMETERS:
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        shared = shared_vae or SharedComponent(vae)
        return lambda latent: shared.decode_preview(_downscale_latent(vae, latent).float() / scaling + shift)
    factors = _RGB_FACTORS.get(round(scaling, 5))
    if factors is None or vae.config.latent_channels != len(factors):
        return None
    return lambda latent: torch.einsum("bchw,cr->brhw", latent.float(), latent.new_tensor(factors).float())


def linear_decoder(tensors: Mapping[str, torch.Tensor]) -> PreviewDecoder:
    """`weight`, (3 x side x side, channels), and `bias`: each latent cell becomes a patch of side x side pixels."""
    weight, bias = tensors["weight"], tensors["bias"]
    side = math.isqrt(len(bias) // 3)

    def decode(latent: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.conv2d(latent.float().cpu(), weight[..., None, None], bias)
        return torch.nn.functional.pixel_shuffle(patches, side)

    return decode


def _downscale_latent(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    """The latent shrunk so that it decodes to about `_MAX_SIDE` pixels."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    longest = max(latent.shape[-2:])
    if longest * scale <= _MAX_SIDE:
        return latent
    factor = _MAX_SIDE / (longest * scale)
    return torch.nn.functional.interpolate(latent, scale_factor=factor, mode="area")


class Previewer:
    """Makes the previews of one task. `now` is a monotonic clock."""

    def __init__(self, decode: PreviewDecoder | None, now: Callable[[], float] = time.monotonic) -> None:
        self._decode = decode
        self._now = now
        self._started = now()
        self._last = self._started - MIN_INTERVAL_S  # the first one is due immediately
        self._spent_s = 0.0

    def make_preview(self, latents: Any) -> bytes | None:
        """A JPEG of at most 128 pixels a side, or None: too soon, too expensive, or no decoder for these latents."""
        started = self._now()
        is_too_expensive = self._spent_s > _MAX_TIME_SHARE * (started - self._started)
        if self._decode is None or is_too_expensive or started - self._last < MIN_INTERVAL_S:
            return None
        if not isinstance(latents, torch.Tensor) or latents.dim() != 4:
            return None
        try:
            with torch.no_grad():
                rgb = self._decode(latents[:1].detach())[0]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._decode = None
            return None
        self._last = self._now()
        jpeg = _encode_jpeg(rgb)
        self._spent_s += self._now() - started
        return jpeg


def _encode_jpeg(rgb: torch.Tensor) -> bytes:
    """RGB in [-1, 1], (3, h, w)."""
    pixels = ((rgb.float().clamp(-1, 1) + 1) * 127.5).nan_to_num().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels)
    scale = _MAX_SIDE / max(image.size)
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70, xmp=_MARK)
    return out.getvalue()
