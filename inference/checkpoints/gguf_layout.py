"""Recognises the denoiser in a `.gguf` file by the names and shapes of its tensors. Imports no torch.

Such a file has no text encoder, tokenizer and VAE, or they are ignored: they come from the family's base model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ModelUnavailable
from bot.model_install.gguf_header import GgufHeader, read_gguf_header
from bot.model_install.model_headers import DamagedModelFile

Shapes = Mapping[str, list[int]]
PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class GgufLayout:
    """`problem`: why it cannot be used, in a few words that begin with what it is. `component`: its name in the
    pipeline; `denoiser_class`: Diffusers' class. `base_model`: the repo with the other components; "": unknown."""

    pipeline_class: str = ""
    component: str = "transformer"
    denoiser_class: str = ""
    base_model: str = ""
    problem: str = ""


def read_gguf_layout(shapes: Shapes, metadata: Mapping[str, str], name: str = "") -> GgufLayout:
    """`name`: the file's; it alone tells Qwen-Image's models for edits from its others."""
    bare = {key.removeprefix(PREFIX): shape for key, shape in shapes.items()}
    found = next((layout for is_of, layout in _FAMILIES if is_of(bare)), None)
    if found is not None:
        return found(bare, name)
    architecture = metadata.get("general.architecture", "")[:40]
    known = "".join(character for character in architecture if character.isalnum() or character in "-_.")
    return GgufLayout(
        problem=f"GGUF file of the architecture {known}" if known else "GGUF file of no known architecture"
    )


def open_gguf(model: str, path: Path) -> tuple[GgufHeader, GgufLayout]:
    """Raises: ModelUnavailable: the file is damaged, or of an architecture that cannot run."""
    try:
        header = read_gguf_header(path)
    except OSError as error:
        raise ModelUnavailable(model, f"{path} cannot be read: {error.strerror}") from error
    except DamagedModelFile as error:
        raise ModelUnavailable(model, f"{path.name} {error}") from error
    layout = read_gguf_layout(header.shapes, header.metadata, path.name)
    if layout.problem:
        raise ModelUnavailable(model, f"{path.name} is a {layout.problem}, which Easel cannot run yet")
    return header, layout


def _has(*keys: str) -> Callable[[Shapes], bool]:
    return lambda shapes: any(key in shapes for key in keys)


def _transformer(pipeline: str, denoiser: str, base: str) -> Callable[[Shapes, str], GgufLayout]:
    return lambda shapes, name: GgufLayout(pipeline, "transformer", denoiser, base)


def _unet(shapes: Shapes, name: str) -> GgufLayout:
    if shapes["input_blocks.0.0.weight"][1:2] != [4]:
        return GgufLayout(problem="model for inpainting in a .gguf file")
    width = next((shape[-1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")), 0)
    pipeline, base = _UNETS.get(width, ("", ""))
    if not pipeline:
        return GgufLayout(problem="GGUF file of another Stable Diffusion than 1.x and XL")
    return GgufLayout(pipeline, "unet", "UNet2DConditionModel", base)


def _flux2(shapes: Shapes, name: str) -> GgufLayout:
    width = next((shapes[key][0] for key in ("img_in.weight", "x_embedder.weight") if key in shapes), 0)
    if width == _FLUX2_DEV_WIDTH:
        return GgufLayout(problem="GGUF file of FLUX.2 dev")
    return GgufLayout("Flux2KleinPipeline", "transformer", "Flux2Transformer2DModel", _FLUX2_BASES.get(width, ""))


def _qwen_image(shapes: Shapes, name: str) -> GgufLayout:
    pipeline, base = (
        ("QwenImageEditPlusPipeline", "Qwen/Qwen-Image-Edit-2511")
        if "edit" in name.casefold()
        else ("QwenImagePipeline", "Qwen/Qwen-Image")
    )
    return GgufLayout(pipeline, "transformer", "QwenImageTransformer2DModel", base)


_UNETS = {
    768: ("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    2048: ("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"),
}
"""By the width of the text embeddings."""
_FLUX2_BASES = {3072: "black-forest-labs/FLUX.2-klein-4B", 4096: "black-forest-labs/FLUX.2-klein-9B"}
_FLUX2_DEV_WIDTH = 6144
_FAMILIES: tuple[tuple[Callable[[Shapes], bool], Callable[[Shapes, str], GgufLayout]], ...] = (
    (_has("input_blocks.0.0.weight"), _unet),
    (_has("double_stream_modulation_img.lin.weight", "double_stream_modulation_img.linear.weight"), _flux2),
    (
        _has("layers.0.adaLN_modulation.0.weight"),
        _transformer("ZImagePipeline", "ZImageTransformer2DModel", "Tongyi-MAI/Z-Image-Turbo"),
    ),
    (
        _has("layers.0.adaLN_sa_ln.weight"),
        _transformer("ErnieImagePipeline", "ErnieImageTransformer2DModel", "baidu/ERNIE-Image-Turbo"),
    ),
    (
        _has("txtfusion.projector.weight", "text_fusion.projector.weight", "tmlp.0.weight"),
        _transformer("Krea2Pipeline", "Krea2Transformer2DModel", "krea/Krea-2-Turbo"),
    ),
    (
        _has("transformer_blocks.0.img_mlp.gate_up.weight", "transformer_blocks.0.img_mlp.gate_layer.weight"),
        _transformer("QwenImage21Pipeline", "QwenImage21Transformer2DModel", "Qwen/Qwen-Image-2.1"),
    ),
    (_has("transformer_blocks.0.img_mod.1.weight"), _qwen_image),
)
