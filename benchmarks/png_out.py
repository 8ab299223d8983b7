"""From the decoder's tensor to a PNG file: `python -m benchmarks.png_out [--quick]`.

The peer is a Diffusers pipeline with `Image.save`. Ours has the same pixels, and generation metadata in the file.
Measured twice: with `fpng` (the extra "fast") and with Pillow alone. CPU time of one thread.
"""

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from benchmarks import figures
from benchmarks.figures import compare
from inference.images import encode
from inference.ipc.image_messages import EncodeRequest

SIDES = (128, 512, 1024)
GOAL_FAST, GOAL_PLAIN = 20.0, 2.0
_GOAL_SIDE = 512
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    rows = []
    for side in SIDES:
        tensor = _random_image(side)
        pixels, times = _to_pixels(tensor), 5 if quick else 15
        peer_ms, peer_kb = _measure_encoder(_encode_peer, tensor, times)
        peer_file_ms, _ = _measure_encoder(_encode_peer_image, Image.fromarray(pixels), times)
        for name, goal in (("fpng", GOAL_FAST), ("Pillow", GOAL_PLAIN)):
            if name == "fpng" and encode.fpng is None:
                continue
            with _PngWriter(name):
                ours_ms, ours_kb = _measure_encoder(_encode_ours, tensor, times)
                file_ms, _ = _measure_encoder(_encode_pixels, pixels, times)
                assert _decode_pixels(_encode_ours(tensor)) == _decode_pixels(_encode_peer(tensor)), "the pixels differ"
            what = f"{side} x {side} with {name}"
            rows.append(
                compare(f"{what}, ms", ours_ms, peer_ms, "Pillow's default", goal=goal if side == _GOAL_SIDE else None)
            )
            rows.append(compare(f"{what}, KB", ours_kb, peer_kb, "Pillow's default"))
            rows.append(compare(f"{what}, from pixels, ms", file_ms, peer_file_ms, "Pillow's default"))
    return figures.record(rows)


class _PngWriter:
    """Our encoder with or without fpng."""

    def __init__(self, name: str) -> None:
        self._original, self._replacement = encode.fpng, None if name == "Pillow" else encode.fpng

    def __enter__(self) -> None:
        encode.fpng = self._replacement

    def __exit__(self, *_: object) -> None:
        encode.fpng = self._original


def _random_image(side: int) -> Any:
    """A photo-like image: smooth shapes and a little noise; float32 in [-1, 1], (1, 3, side, side)."""
    import torch

    torch.manual_seed(7)
    shapes = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 24), (side, side), mode="bicubic")
    return ((shapes + 0.012 * torch.randn(1, 3, side, side)) * 2 - 1).clamp(-1, 1)


def _to_pixels(tensor: Any) -> Any:
    """As converted by a pipeline's image processor and the engine; uint8, (side, side, 3)."""
    from inference.diffusion.pipeline_call import _to_uint8

    return _to_uint8((tensor / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())


def _encode_ours(tensor: Any) -> bytes:
    return _encode_pixels(_to_pixels(tensor))


def _encode_pixels(pixels: Any) -> bytes:
    height, width, _ = pixels.shape
    request = EncodeRequest(
        pixels=pixels.tobytes(), width=width, height=height, parameters="a fox\nSteps: 20", easel="{}"
    )
    return encode.encode_image(request).data


def _encode_peer(tensor: Any) -> bytes:
    from diffusers.image_processor import VaeImageProcessor

    return _encode_peer_image(VaeImageProcessor().postprocess(tensor, output_type="pil")[0])


def _encode_peer_image(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _measure_encoder(encode_input: Callable[[Any], bytes], encoder_input: Any, times: int) -> tuple[float, float]:
    """Milliseconds of CPU time, and the file's size in KB."""
    taken = []
    for _ in range(times):
        started = time.thread_time()
        file = encode_input(encoder_input)
        taken.append(1000 * (time.thread_time() - started))
    return statistics.median(taken), len(file) / 1000


def _decode_pixels(file: bytes) -> bytes:
    return Image.open(io.BytesIO(file)).convert("RGB").tobytes()


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
