"""Recognises upscalers by the names and shapes of their tensors. Imports no torch.

Two networks are known. RRDBNet is ESRGAN's and Real-ESRGAN's; its files use three layouts of names: BasicSR's
(`body.0.rdb1.conv1`), the first ESRGAN's (`RRDB_trunk.0.RDB1.conv1`) and the one of its original code
(`model.1.sub.0.RDB1.conv1.0`). SRVGGNetCompact is Real-ESRGAN's small one (`body.0`). Their names may have a prefix.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIXES = ("params_ema.", "params.", "state_dict.", "module.", "generator.")
"""What tools that save whole checkpoints put before the names; of several sets, the first one's weights are better."""
RRDB, COMPACT = "RRDBNet", "SRVGGNetCompact"
_BODY_LAYER = re.compile(r"body\.(\d+)\.weight")
_BLOCK = re.compile(r"body\.(\d+)\.rdb1\.conv1\.weight")
_ORIGINAL = re.compile(r"model\.(\d+)\.(weight|bias)")
_CHANNELS = 3
_UNSHUFFLED = {3: 1, 12: 2, 48: 4}
"""By input channels: the image's pixels in squares of this side become channels first."""
MAX_SCALE = 8


@dataclass(frozen=True)
class UpscalerLayout:
    """What a file's tensors are.

    Attributes:
        network: `RRDB` or `COMPACT`.
        scale: how many times larger its images are.
        features: width of its layers; `growth`: of those inside RRDBNet's dense blocks.
        blocks: RRDBNet's blocks, or SRVGGNetCompact's layers between the first and the last.
        unshuffle: see `_UNSHUFFLED`.
        upsamplings: of RRDBNet, each twice the size.
    """

    network: str
    scale: int
    features: int
    blocks: int
    growth: int = 0
    unshuffle: int = 1
    upsamplings: int = 0


def read_layout(shapes: Mapping[str, list[int]]) -> UpscalerLayout | None:
    """The layout of a file with these tensors; None: it is no upscaler that is known."""
    by_name = {ours: shapes[theirs] for theirs, ours in plain_names(shapes).items()}
    try:
        return _read_rrdb(by_name) or _read_compact(by_name)
    except (IndexError, KeyError):
        return None


def _read_rrdb(shapes: Mapping[str, list[int]]) -> UpscalerLayout | None:
    blocks = sum(1 for name in shapes if _BLOCK.fullmatch(name))
    if not blocks or shapes["conv_last.weight"][0] != _CHANNELS:
        return None
    features, channels = shapes["conv_first.weight"][:2]
    unshuffle = _UNSHUFFLED.get(channels, 0)
    upsamplings = sum(f"conv_up{number}.weight" in shapes for number in (1, 2, 3))
    scale, rest = divmod(2**upsamplings, unshuffle) if unshuffle else (0, 1)
    if rest or not 1 <= scale <= MAX_SCALE:
        return None
    growth = shapes["body.0.rdb1.conv1.weight"][0]
    return UpscalerLayout(RRDB, scale, features, blocks, growth, unshuffle, upsamplings)


def _read_compact(shapes: Mapping[str, list[int]]) -> UpscalerLayout | None:
    numbers = sorted(int(match[1]) for match in map(_BODY_LAYER.fullmatch, shapes) if match)
    if len(numbers) < 3 or numbers != list(range(len(numbers))) or len(shapes["body.1.weight"]) != 1:
        return None
    features, channels = shapes["body.0.weight"][:2]
    pixels = shapes[f"body.{numbers[-1]}.weight"][0] // _CHANNELS
    scale = next((scale for scale in range(1, MAX_SCALE + 1) if scale**2 == pixels), 0)
    if channels != _CHANNELS or not scale:
        return None
    return UpscalerLayout(COMPACT, scale, features, blocks=len(numbers) // 2 - 1)


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """BasicSR's names, without a prefix, by the file's own; of several sets of weights only the best one's."""
    every = list(names)
    for prefix in PREFIXES:
        chosen = [name for name in every if name.startswith(prefix)]
        if chosen:
            inner = plain_names(name.removeprefix(prefix) for name in chosen)
            return {prefix + theirs: ours for theirs, ours in inner.items()}
    convs = {int(match[1]) for match in map(_ORIGINAL.fullmatch, every) if match}
    return {name: _plain_name(name, sorted(convs)) for name in every}


_FIRST_ESRGAN = (
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\."), r"body.\1.rdb\2."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)
_ORIGINAL_BLOCK = re.compile(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.")
_ORIGINAL_TRUNK = re.compile(r"^model\.1\.sub\.\d+\.(weight|bias)$")


def _plain_name(name: str, convs: list[int]) -> str:
    """`convs`: the numbers of the convolutions at the top level of the original layout: first, enlarging, two last."""
    if _ORIGINAL_BLOCK.match(name):
        return _ORIGINAL_BLOCK.sub(r"body.\1.rdb\2.conv\3.", name)
    if match := _ORIGINAL_TRUNK.match(name):
        return f"conv_body.{match[1]}"
    if (match := _ORIGINAL.fullmatch(name)) and len(convs) >= 3:
        first, *enlarging, hr, last = convs
        names = {first: "conv_first", hr: "conv_hr", last: "conv_last"}
        names |= {number: f"conv_up{index}" for index, number in enumerate(enlarging, start=1)}
        return f"{names[int(match[1])]}.{match[2]}"
    for pattern, plain in _FIRST_ESRGAN:
        name = pattern.sub(plain, name)
    return name
