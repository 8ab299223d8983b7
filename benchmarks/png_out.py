"""From the decoder's tensor to a PNG file: `python -m benchmarks.png_out [--quick]`.

The peer is what a Diffusers pipeline and `Image.save` do. Ours ends with the same pixels, and its file says how it was
made. Measured twice: with `fpng` (the extra "fast") and with Pillow alone. Processor time of one thread.
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
from inference.ipc.messages import EncodeRequest

SIDES = (128, 512, 1024)
GOAL_FAST, GOAL_PLAIN = 20.0, 2.0
_MAIN = 512
sentence = figures.told


def run(quick: bool = False) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    rows = []
    for side in SIDES:
        tensor = _picture(side)
        pixels, times = _pixels_of(tensor), 5 if quick else 15
        peer_ms, peer_kb = _measured(_peer, tensor, times)
        peer_file_ms, _ = _measured(_peer_file, Image.fromarray(pixels), times)
        for name, goal in (("fpng", GOAL_FAST), ("Pillow", GOAL_PLAIN)):
            if name == "fpng" and encode.fpng is None:
                continue
            with _writer(name):
                ours_ms, ours_kb = _measured(_ours, tensor, times)
                file_ms, _ = _measured(_file, pixels, times)
                assert _decoded(_ours(tensor)) == _decoded(_peer(tensor)), "the pixels differ"
            what = f"{side} x {side} with {name}"
            rows.append(
                compare(f"{what}, ms", ours_ms, peer_ms, "Pillow's default", goal=goal if side == _MAIN else None)
            )
            rows.append(compare(f"{what}, KB", ours_kb, peer_kb, "Pillow's default"))
            rows.append(compare(f"{what}, from pixels, ms", file_ms, peer_file_ms, "Pillow's default"))
    return figures.record(rows)


class _writer:
    """Ours with or without the quick writer."""

    def __init__(self, name: str) -> None:
        self._kept, self._wanted = encode.fpng, None if name == "Pillow" else encode.fpng

    def __enter__(self) -> None:
        encode.fpng = self._wanted

    def __exit__(self, *_: object) -> None:
        encode.fpng = self._kept


def _picture(side: int) -> Any:
    """A picture like a photo: smooth shapes and a little noise; float32 in [-1, 1], (1, 3, side, side)."""
    import torch

    torch.manual_seed(7)
    shapes = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 24), (side, side), mode="bicubic")
    return ((shapes + 0.012 * torch.randn(1, 3, side, side)) * 2 - 1).clamp(-1, 1)


def _pixels_of(tensor: Any) -> Any:
    """As a pipeline's image processor and the engine make them; uint8, (side, side, 3)."""
    from inference.diffusion.pipeline_call import _pixels

    return _pixels((tensor / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())


def _ours(tensor: Any) -> bytes:
    return _file(_pixels_of(tensor))


def _file(pixels: Any) -> bytes:
    height, width, _ = pixels.shape
    request = EncodeRequest(
        pixels=pixels.tobytes(), width=width, height=height, parameters="a fox\nSteps: 20", easel="{}"
    )
    return encode.encode(request).data


def _peer(tensor: Any) -> bytes:
    from diffusers.image_processor import VaeImageProcessor

    return _peer_file(VaeImageProcessor().postprocess(tensor, output_type="pil")[0])


def _peer_file(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _measured(make: Callable[[Any], bytes], given: Any, times: int) -> tuple[float, float]:
    """Milliseconds of processor time, and the file's size in KB."""
    taken = []
    for _ in range(times):
        began = time.thread_time()
        file = make(given)
        taken.append(1000 * (time.thread_time() - began))
    return statistics.median(taken), len(file) / 1000


def _decoded(file: bytes) -> bytes:
    return Image.open(io.BytesIO(file)).convert("RGB").tobytes()


if __name__ == "__main__":
    figures.main(run, sentence)
