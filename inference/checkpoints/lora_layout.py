"""Reads what a LoRA's file contains from the names and shapes of its tensors. Imports no torch.

Programs name the same weights differently: kohya's sd-scripts and LyCORIS (`lora_unet_..._to_q.lora_down.weight`),
PEFT and Diffusers (`unet...to_q.lora_A.weight`), Diffusers' attention processors of 2023
(`unet...processor.to_q_lora.down.weight`). Here a weight is a component, a module and a parameter.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from inference.checkpoints import transformer_loras

Shapes = Mapping[str, list[int]]
Groups = Mapping[tuple[str, str], Mapping[str, str]]
"""The tensors' names by component and module, then by parameter."""

UNET, TEXT_ENCODER, TEXT_ENCODER_2 = "unet", "text_encoder", "text_encoder_2"
_PREFIXES: Mapping[str, str] = {
    "lora_unet_": UNET, "lycoris_unet_": UNET, "lora_te_": TEXT_ENCODER, "lora_te1_": TEXT_ENCODER,
    "lora_te2_": TEXT_ENCODER_2, "lycoris_": UNET, "unet.": UNET, "text_encoder.": TEXT_ENCODER,
    "text_encoder_2.": TEXT_ENCODER_2, "text_encoders.clip_l.transformer.": TEXT_ENCODER,
    "text_encoders.clip_h.transformer.": TEXT_ENCODER, "text_encoders.clip_g.transformer.": TEXT_ENCODER_2,
    "model.diffusion_model.": UNET, "diffusion_model.": UNET, "transformer.": UNET,
}  # fmt: skip
"""Components by the beginning of a tensor's name; without one it is the denoiser."""
_WRAPPERS = ("base_model.model.",)
_PARAMETERS: Mapping[str, str] = {
    r"\.lora_down(?:\.default)?\.weight": "down",
    r"\.lora_up(?:\.default)?\.weight": "up",
    r"\.lora_mid\.weight": "mid",
    r"\.lora_A(?:\.default(?:_0)?)?\.weight": "down",
    r"\.lora_B(?:\.default(?:_0)?)?\.weight": "up",
    r"[._]lora\.down\.weight": "down",
    r"[._]lora\.up\.weight": "up",
    r"\.lora_linear_layer\.down\.weight": "down",
    r"\.lora_linear_layer\.up\.weight": "up",
    r"(?:[._]lora)?\.alpha": "alpha",
    r"\.dora_scale": "dora_scale",
    r"\.lora_magnitude_vector(?:\.default(?:_0)?)?(?:\.weight)?": "magnitude",
    r"\.(hada_(?:w[12]_[ab]|t[12]))": "",
    r"\.(lokr_(?:w[12](?:_[ab])?|t2))": "",
    r"\.(diff|diff_b|on_input)": "",
    r"\.weight": "weight",
}
"""Endings of names and their parameters; "": the group. A plain weight belongs to IA3."""
_ENDING = re.compile("|".join(f"(?P<p{number}>{pattern})$" for number, pattern in enumerate(_PARAMETERS)))
_PARAMETER_NAMES = tuple(_PARAMETERS.values())
_UNSUPPORTED: tuple[tuple[str, str], ...] = (
    (r"\.oft_(?:blocks|diag|R)|\.oft_", "OFT"),
    (r"\.boft_|\.rescale$", "OFT or BOFT"),
    (r"\.[ab][12]\.weight$", "GLoRA"),
    (r"\.[wb]_norm$", "changed norms (LyCORIS' train_norm)"),
    (r"custom_diffusion", "Custom Diffusion"),
    (r"^bundle_emb\.|string_to_param", "a bundled textual inversion"),
    (r"^lora_controlnet$|\.lora_controlnet", "ControlLoRA"),
    (
        r"\.lora_(?:embedding|bias|ga)_|\.lora_[AB]\.bias$|\.vera_|\.hra_|\.ia3_l|\.lora_S\.",
        "an unusual kind of PEFT adapter",
    ),
)
"""Formats that are recognised, but not computed."""
_LOHA = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
_ALGORITHMS: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("lora", frozenset({"down", "up"}), frozenset({"mid", "alpha", "dora_scale", "magnitude", "diff_b"})),
    ("loha", _LOHA, frozenset({"alpha", "dora_scale", "diff_b"})),
    ("loha", _LOHA | {"hada_t1", "hada_t2"}, frozenset({"alpha", "dora_scale", "diff_b"})),
    ("full", frozenset({"diff"}), frozenset({"alpha", "diff_b"})),
    ("bias", frozenset({"diff_b"}), frozenset({"alpha"})),
    ("ia3", frozenset({"weight", "on_input"}), frozenset()),
)  # fmt: skip
"""Each algorithm's required and optional parameters. LoKr has alternatives: `_is_lokr`."""
_UNET_MODULE = re.compile(
    r"(?!.*(?:motion_modules|temporal))"
    r"(?:(?:down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)[._]"
    r"|conv_in$|conv_out$|conv_norm_out$"
    r"|(?:time_embedding|add_embedding)[._]linear_|(?:time_embed|label_emb)[._]|out[._][02]$)"
)
_NOT_A_MATRIX = re.compile(
    r"^out[._]0$|(?:^|[._])(?:(?:\w*_)?(?:layer_|group_)?norm(?:\d|_out)?|(?:in|out)_layers[._]0|(?:token|position)_embedding)$"
)
"""Layers without a matrix or kernel that factors could change."""
_SHARED_SIDES: tuple[tuple[str, int, str, int], ...] = (
    ("up", 1, "down", 0), ("hada_w1_a", 1, "hada_w1_b", 0), ("hada_w2_a", 1, "hada_w2_b", 0),
    ("lokr_w1_a", 1, "lokr_w1_b", 0), ("lokr_w2_a", 1, "lokr_w2_b", 0),
)  # fmt: skip
_SHARED_SIDES_WITH_CORE: tuple[tuple[str, int, str, int], ...] = (
    ("up", 1, "mid", 0), ("mid", 1, "down", 0), ("hada_t1", 0, "hada_w1_a", 0), ("hada_t1", 1, "hada_w1_b", 0),
    ("hada_t2", 0, "hada_w2_a", 0), ("hada_t2", 1, "hada_w2_b", 0), ("lokr_w1_a", 1, "lokr_w1_b", 0),
    ("lokr_t2", 0, "lokr_w2_a", 0), ("lokr_t2", 1, "lokr_w2_b", 0),
)  # fmt: skip
"""Sides of two parameters that are the same rank."""
_FIRST_LAYERS = ("conv_in", "input_blocks_0_0", "input_blocks.0.0")
_LATENT_CHANNELS = 4
_OTHER_MODELS: tuple[tuple[str, str], ...] = (
    (r"motion_modules|temporal", "AnimateDiff or another video model"),
    (r"joint_blocks|context_block", "Stable Diffusion 3"),
    (r"double_stream_modulation|single_stream_modulation", "FLUX.2"),
    (r"double_blocks|single_blocks|single_transformer_blocks", "FLUX"),
    (r"down_blocks.*transformer_blocks|(?:^|[._])transformer_blocks[._]", "a transformer that Easel does not know"),
    (r"(?:^|[._])layers[._]\d+[._](?:attention|feed_forward|adaLN)", "Lumina or Z-Image"),
    (r"(?:^|[._])blocks[._]\d+[._]", "Wan or another video model"),
)
TRANSFORMER_FAMILIES = ("flux2-klein", "z-image", *transformer_loras.FAMILIES)
FAMILY_BY_TEXT_WIDTH = {192: "starter", 768: "sd15", 1024: "sd21", 2048: "sdxl"}
"""By the denoiser's cross-attention width."""
_ADAPTER_METADATA = "lora_adapter_metadata"
"""The LoRA's configuration in files of Diffusers since 0.34: JSON of `LoraConfig`'s fields by component."""


@dataclass(frozen=True)
class WeightName:
    """Where a tensor belongs. `parameter` is empty if the ending is unknown."""

    component: str
    module: str
    parameter: str


@dataclass(frozen=True)
class LoraLayout:
    """`problem`: why it cannot be computed, as the end of "it ..."; empty if it can."""

    family: str = ""
    algorithms: frozenset[str] = field(default_factory=frozenset)
    problem: str = ""


def parse_weight_name(name: str) -> WeightName:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    component, rest = _PREFIXES.get(prefix, UNET), name[len(prefix) :].removeprefix("base_model.model.")
    found = _ENDING.search(rest)
    if found is None:
        return WeightName(component, rest, "")
    number = next(number for number in range(len(_PARAMETER_NAMES)) if found[f"p{number}"] is not None)
    parameter = _PARAMETER_NAMES[number] or found[0].lstrip(".")
    module = rest[: found.start()].replace(".processor.", ".")
    return WeightName(component, _modern_projection(component, module), parameter)


def _modern_projection(component: str, module: str) -> str:
    """Diffusers' names of 2023: `to_out` of the UNet, and `to_q` of the text encoders."""
    if component == UNET:
        return re.sub(r"\.to_out$", ".to_out.0", module)
    return re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", module)


def is_lora(names: Iterable[str]) -> bool:
    """Whether one of the tensors is a LoRA's or a relative's: LoHa, LoKr, DoRA, IA3, OFT, a whole difference."""
    marks = (
        r"\.lora_(?:down|up|A|B)\.|[._]lora\.(?:down|up)\.|lora_linear_layer|\.hada_w1_|\.lokr_w[12]|\.dora_scale$"
        r"|\.diff(?:_b)?$|\.on_input$|\.b?oft_|\.[wb]_norm$|custom_diffusion|\.a1\.weight$|\.vera_|\.hra_|\.ia3_l"
    )
    return any(re.search(marks, name) for name in names)


def group_by_module(names: Iterable[str]) -> Groups:
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        where = parse_weight_name(name)
        groups.setdefault((where.component, where.module), {})[where.parameter or name] = name
    return groups


def algorithm_of(parameters: Iterable[str]) -> str:
    """The algorithm that has exactly these parameters; empty if there is none."""
    given = set(parameters)
    if _is_lokr(given):
        return "lokr"
    return next((name for name, needs, may in _ALGORITHMS if needs <= given and given <= needs | may), "")


def _is_lokr(given: set[str]) -> bool:
    factors = [{f"lokr_{half}"} <= given or {f"lokr_{half}_a", f"lokr_{half}_b"} <= given for half in ("w1", "w2")]
    known = {"alpha", "dora_scale", "diff_b", "lokr_t2"} | {
        f"lokr_{half}{part}" for half in ("w1", "w2") for part in ("", "_a", "_b")
    }
    return all(factors) and given <= known


def read_adapter_configs(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """`LoraConfig`'s fields by component; empty if the file has none. Raises: ValueError."""
    values = json.loads(metadata.get(_ADAPTER_METADATA) or "{}")
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    configs: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        component, _, option = key.partition(".")
        configs.setdefault(component, {})[option] = value
    return configs


def read_layout(shapes: Shapes, metadata: Mapping[str, str] = MappingProxyType({})) -> LoraLayout:
    """What a LoRA is for, and whether it can be computed."""
    try:
        read_adapter_configs(metadata)
    except (ValueError, RecursionError):
        return LoraLayout(problem=f"is damaged: its metadata {_ADAPTER_METADATA} is not readable JSON")
    for pattern, what in _UNSUPPORTED:
        if any(re.search(pattern, name) for name in shapes):
            return LoraLayout(problem=f"uses {what}, which Easel does not compute")
    groups = group_by_module(shapes)
    denoiser = [module for component, module in groups if component == UNET]
    if family := _transformer_family(groups, shapes):
        return _transformer_layout(family, groups)
    if strange := next((module for module in denoiser if not _UNET_MODULE.match(module)), ""):
        kind = next((what for pattern, what in _OTHER_MODELS if re.search(pattern, strange)), "")
        return LoraLayout(problem=f"is for {kind or 'an unknown kind of model'} (it has weights for {strange[:80]})")
    algorithms = {algorithm_of(parameters) for parameters in groups.values()}
    if problem := _find_unet_problem(groups, shapes):
        return LoraLayout(problem=problem)
    return LoraLayout(_unet_family(groups, shapes), frozenset(algorithms))


def _find_unet_problem(groups: Groups, shapes: Shapes) -> str:
    """Why the weights for a UNet and its text encoders cannot be computed; empty if they can."""
    if norm := next((module for _, module in groups if _NOT_A_MATRIX.search(module)), ""):
        return f"changes {norm[:80]}, which Easel does not compute"
    if broken := next((one for one in groups.values() if not algorithm_of(one)), None):
        return f"has weights of an unknown or incomplete kind ({_describe(broken)})"
    if wrong := next((one for one in groups.values() if not _parts_fit(one, shapes)), None):
        return f"is damaged: its parts do not fit together ({_describe(wrong)})"
    channels = [_input_width(groups[UNET, name], shapes) for name in _FIRST_LAYERS if (UNET, name) in groups]
    if any(count not in (0, _LATENT_CHANNELS) for count in channels):
        return f"is for a model for inpainting or editing: its first layer has {channels[0]} channels"
    return ""


def _describe(parameters: Mapping[str, str]) -> str:
    return sorted(parameters.values())[0][:120]


def _parts_fit(parameters: Mapping[str, str], shapes: Shapes) -> bool:
    """Whether alpha is one number, and factors agree in their rank, which is not 0."""
    parts = {name: shapes[tensor] for name, tensor in parameters.items()}
    has_core = bool(parts.keys() & {"mid", "hada_t1", "lokr_t2"})
    sides = _SHARED_SIDES_WITH_CORE if has_core else _SHARED_SIDES
    ranks = [
        (parts[left][axis : axis + 1], parts[right][other : other + 1])
        for left, axis, right, other in sides
        if left in parts and right in parts
    ]
    return math.prod(parts.get("alpha", ())) == 1 and all(
        rank == same and rank not in ([], [0]) for rank, same in ranks
    )


def _unet_family(groups: Groups, shapes: Shapes) -> str:
    """By the width of the text that its cross attention reads, or by parts that only one family has."""
    if any(component == TEXT_ENCODER_2 for component, _ in groups):
        return "sdxl"
    for (component, module), parameters in groups.items():
        reads_text = component == UNET and re.search(r"attn2[._]to_[kv]$", module) is not None
        family = FAMILY_BY_TEXT_WIDTH.get(_input_width(parameters, shapes), "") if reads_text else ""
        if family:
            return family
    denoiser = [module for component, module in groups if component == UNET]
    if any(re.search(r"transformer_blocks[._][1-9]|label_emb|add_embedding", module) for module in denoiser):
        return "sdxl"
    if not denoiser and any(name.startswith("lora_te_") for name in shapes):
        widths = {_input_width(parameters, shapes) for parameters in groups.values()}
        return "sd15" if 768 in widths else "sd21" if 1024 in widths else ""
    return ""


def _input_width(parameters: Mapping[str, str], shapes: Shapes) -> int:
    """The module's input features; 0: unknown."""
    for parameter in ("down", "diff", "hada_w1_b"):
        if parameter in parameters and len(shapes[parameters[parameter]]) >= 2:
            return shapes[parameters[parameter]][1]
    halves = [
        next((shapes[parameters[name]][1] for name in (f"lokr_{half}", f"lokr_{half}_b") if name in parameters), 0)
        for half in ("w1", "w2")
    ]
    return halves[0] * halves[1]


# ---------------------------------------------------------------- transformers


_KLEIN_BLOCKS = re.compile(r"(?:^|_|\.)(?:(double_blocks|transformer_blocks)|(single_\w*blocks))[._](\d+)")
_FLUX1_MODULE = re.compile(
    r"img_mod|txt_mod|modulation[._]lin|norm1?[._]linear|norm1_context|ff(?:_context)?[._]net"
    r"|single\w*blocks[._]\d+[._](?:proj_mlp|proj_out|attn[._]to_[qkv])$"
)
_FLUX2_DEV_WIDTH = 6144
_Z_IMAGE_BLOCK = re.compile(
    r"(?:^|[._])(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward|adaLN)"
)


def _transformer_family(groups: Groups, shapes: Shapes) -> str:
    """One of `TRANSFORMER_FAMILIES`; empty for everything else."""
    names = [module for component, module in groups if component == UNET]
    widths = {name: (shapes.get(groups[UNET, name].get("down", "")) or [0])[-1] for name in names}
    if family := transformer_loras.find_family(widths):
        return family
    if not names or any(_UNET_MODULE.match(name) for name in names):
        return ""
    if all(_Z_IMAGE_BLOCK.search(name) for name in names):
        return "z-image"
    if not all(_KLEIN_BLOCKS.search(name) or re.match(r"(?:double|single)_stream_mod", name) for name in names):
        return ""
    is_other_flux = any(
        _FLUX1_MODULE.search(module) or _is_other_flux_shape(module, parameters, shapes)
        for (component, module), parameters in groups.items()
        if component == UNET
    )
    blocks = [found for name in names if (found := _KLEIN_BLOCKS.search(name))]
    double = max((int(found[3]) for found in blocks if found[1]), default=0)
    single = max((int(found[3]) for found in blocks if found[2]), default=0)
    has_single = any(found[2] for found in blocks)
    return "flux2-klein" if not is_other_flux and has_single and double < 8 and single < 24 else ""


def _is_other_flux_shape(module: str, parameters: Mapping[str, str], shapes: Shapes) -> bool:
    """FLUX.1's fused layers and FLUX.2 klein's have the same names, but other proportions."""
    if not {"down", "up"} <= parameters.keys():
        return False
    columns, rows = _input_width(parameters, shapes), (shapes[parameters["up"]] or [0])[0]
    flux1 = {"linear1": rows == 7 * columns, "linear2": columns == 5 * rows, "mlp_0": rows == 4 * columns}
    last = re.sub(r"[._]", "_", module)
    return columns == _FLUX2_DEV_WIDTH or any(last.endswith(end) and is_flux1 for end, is_flux1 in flux1.items())


def _transformer_layout(family: str, groups: Groups) -> LoraLayout:
    """Diffusers itself computes plain LoRAs of transformers."""
    for parameters in groups.values():
        if not {"down", "up"} <= set(parameters) <= {"down", "up", "alpha"}:
            return LoraLayout(problem=f"is not a plain LoRA, which {family} needs ({_describe(parameters)})")
    stored = (name for parameters in groups.values() for name in parameters.values())
    if name := transformer_loras.find_unreadable(family, stored):
        return LoraLayout(problem=f"names its weights for {family} in a way that Easel does not read ({name[:120]})")
    return LoraLayout(family, frozenset({"lora"}))
