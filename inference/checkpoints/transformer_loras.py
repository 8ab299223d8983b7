"""Tells which transformer a LoRA is for by the names of its layers, for families whose files Diffusers itself reads.

A family's files come under Diffusers' names and under those of its original code or of trainers; what Diffusers would
not read, or would read in part, is refused when the LoRA is added. Imports no torch.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_FACTORS = r"\.lora_[AB]\.weight"
_KREA2_BLOCK = r"\d+\.(?:attn\.(?:w[qkvo]|gate)|mlp\.(?:gate|up|down))"
_KREA2_ORIGINAL = (
    rf"(?:blocks\.{_KREA2_BLOCK}|txtfusion\.(?:(?:layerwise|refiner)_blocks\.{_KREA2_BLOCK}|projector)"
    r"|first|last\.linear|tmlp\.[02]|tproj\.1|txtmlp\.[13])"
)
_QWEN_NAMES = (
    rf"transformer\.[\w.]+{_FACTORS}"
    r"|diffusion_model\.[\w.]+\.(?:lora_(?:A|B|down|up)(?:\.default)?\.weight|alpha)"
)


@dataclass(frozen=True)
class TransformerLoras:
    """The LoRAs of one family.

    Attributes:
        own: layers that only this family has.
        readable: whole names of tensors that Diffusers reads for it.
        attention: the width of its blocks, and the possible numbers of the last one, which tell LoRAs for attention
            alone from those of others; None: its attention has names of its own.
    """

    own: re.Pattern[str]
    readable: re.Pattern[str]
    attention: tuple[int, range] | None = None


_FAMILIES: Mapping[str, TransformerLoras] = {
    "krea2": TransformerLoras(
        own=re.compile(
            r"transformer_blocks[._]\d+[._](?:attn[._]to_gate|ff[._](?:gate|up|down))$|text_fusion[._]|txtfusion[._]"
            r"|blocks[._]\d+[._](?:attn[._]w[qkvo]|mlp[._](?:gate|up|down))$"
        ),
        readable=re.compile(
            rf"transformer\.[\w.]+{_FACTORS}"
            rf"|(?:base_model\.model\.(?:diffusion_model\.)?|diffusion_model\.){_KREA2_ORIGINAL}{_FACTORS}"
        ),
        attention=(6144, range(8, 28)),
    ),
    "qwen-image": TransformerLoras(
        own=re.compile(r"transformer_blocks[._]\d+[._](?:(?:img|txt)_mod[._]1|(?:img|txt)_mlp[._]net[._]\d)"),
        readable=re.compile(
            rf"{_QWEN_NAMES}"
            r"|lora_unet_\w+\.(?:lora_(?:down|up)\.weight|alpha)"
            r"|transformer_blocks\.[\w.]+\.(?:lora_(?:down|up)\.weight|lora_[AB]\.default\.weight|alpha)"
        ),
        attention=(3072, range(38, 60)),
    ),
    "qwen-image-21": TransformerLoras(
        own=re.compile(r"transformer_blocks[._]\d+[._]img_mlp[._](?:gate_layer|proj|out)$"),
        readable=re.compile(_QWEN_NAMES),
        attention=(4096, range(8, 32)),
    ),
    "ernie-image": TransformerLoras(
        own=re.compile(r"layers[._]\d+[._]self_attention[._]"),
        readable=re.compile(
            rf"(?:transformer|diffusion_model|base_model\.model)\.(?!diffusion_model\.)[\w.]+{_FACTORS}"
        ),
    ),
}
FAMILIES = tuple(_FAMILIES)
_ATTENTION = re.compile(r"transformer_blocks[._](\d+)[._]attn[._]to_(?:q|k|v|out[._]0)$")


def find_family(widths: Mapping[str, int]) -> str:
    """The family of a LoRA; empty: none of these. `widths`: the input features of its layers, by their names."""
    family = next((name for name, one in _FAMILIES.items() if any(map(one.own.match, widths))), "")
    return family or _family_by_attention(widths)


def _family_by_attention(widths: Mapping[str, int]) -> str:
    blocks = [_ATTENTION.match(name) for name in widths]
    if not all(blocks) or not blocks:
        return ""
    last, width = max(int(block[1]) for block in blocks if block), max(widths.values())
    for name, one in _FAMILIES.items():
        if one.attention is not None and width == one.attention[0] and last in one.attention[1]:
            return name
    return ""


def find_unreadable(family: str, names: Iterable[str]) -> str:
    """A tensor whose name Diffusers does not read for this family; empty: it reads all."""
    known = _FAMILIES.get(family)
    return "" if known is None else next((name for name in names if not known.readable.fullmatch(name)), "")
