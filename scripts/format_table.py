"""Measures the number formats of weights on this machine's CPU, as a table in docs/models.md.

`python -m scripts.format_table` writes it: the size of the weights, the relative error of one call (L2), the time of a
call against that in float32, and for the starter model the largest difference in levels of eight images. SDXL's and
Z-Image's rows have random weights in their shapes, made narrower: their errors tell little about trained weights.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel, ZImageTransformer2DModel
from torch import nn
from transformers import Blip2ForConditionalGeneration

from inference.engine.library_logs import mute_libraries
from inference.memory.quantization import cast_to_fp8, quantize_module, quantize_to_4bit

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
START, END = "<!-- formats: python -m scripts.format_table -->\n", "<!-- end of formats -->\n"
PROMPTS = [
    f"a {colour} {thing} on the {ground} background"
    for colour, thing, ground in (
        ("red", "fox", "blue"), ("blue", "cat", "green"), ("green", "bird", "white"), ("yellow", "fish", "black"),
        ("black", "dog", "yellow"), ("white", "horse", "red"), ("orange", "owl", "purple"), ("purple", "bear", "grey"),
    )
]  # fmt: skip
STEPS, CALLS = 6, 3


@dataclass
class Family:
    """`call` computes one call of the module; `paint`, eight images with it."""

    name: str
    module: nn.Module
    call: Callable[[nn.Module], torch.Tensor]
    formats: tuple[str, ...]
    paint: Callable[[nn.Module], numpy.ndarray] | None = None
    rows: list[str] = field(default_factory=list)


CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "8bit": quantize_module,
    "fp8": lambda module: cast_to_fp8(module, torch.float32),
    "4bit (NF4)": quantize_to_4bit,
    "GGUF Q8_0": lambda module: to_gguf(module, "Q8_0"),
    "GGUF Q4_0": lambda module: to_gguf(module, "Q4_0"),
}
DENOISER_FORMATS = ("8bit", "fp8", "GGUF Q8_0", "GGUF Q4_0")


def to_gguf(module: nn.Module, kind: str) -> None:
    """Replace its linear layers by Diffusers' layers for GGUF, as a file in this format gives them."""
    import gguf
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

    wanted = gguf.GGMLQuantizationType[kind]
    for name, layer in list(module.named_modules()):
        if type(layer) is not nn.Linear or layer.in_features % gguf.GGML_QUANT_SIZES[wanted][0]:
            continue
        replacement = GGUFLinear(layer.in_features, layer.out_features, layer.bias is not None, torch.float32)
        packed = torch.from_numpy(gguf.quants.quantize(layer.weight.numpy(), wanted))
        replacement.weight = GGUFParameter(packed, quant_type=wanted)
        replacement.bias = layer.bias
        module.set_submodule(name, replacement)


def starter_image() -> Family:
    pipeline = StableDiffusionPipeline.from_pretrained(
        ROOT / "models" / "starter-image", dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.unet.config
    latents = torch.randn(4, config.in_channels, 16, 16)
    texts = torch.randn(4, 16, config.cross_attention_dim)

    def paint(unet: nn.Module) -> numpy.ndarray:
        pipeline.unet = unet
        seeds = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
        images = pipeline(PROMPTS, num_inference_steps=STEPS, generator=seeds, output_type="np").images
        return (images * 255).round().astype(int)

    return Family(
        "starter-image, UNet",
        pipeline.unet,
        lambda unet: unet(latents, torch.tensor([900.0, 500.0, 300.0, 20.0]), texts).sample,
        DENOISER_FORMATS,
        paint,
    )


def starter_vision() -> Family:
    blip = Blip2ForConditionalGeneration.from_pretrained(
        ROOT / "models" / "starter-vision", dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    words = torch.arange(24).reshape(2, 12) % blip.config.text_config.vocab_size
    return Family(
        "starter-vision, language model",
        blip.language_model,
        lambda model: model(input_ids=words).logits,
        ("8bit", "4bit (NF4)"),
    )


def sdxl_shape() -> Family:
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(64, 128, 256), cross_attention_dim=512, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1,
        transformer_layers_per_block=(1, 2, 10), attention_head_dim=(2, 4, 8), addition_embed_type="text_time",
        addition_time_embed_dim=32, projection_class_embeddings_input_dim=6 * 32 + 256,
    ).eval()  # fmt: skip
    latents, texts = torch.randn(2, 4, 32, 32), torch.randn(2, 16, 512)
    conditions = {"text_embeds": torch.randn(2, 256), "time_ids": torch.randn(2, 6)}
    return Family(
        "SDXL's shape, random",
        unet,
        lambda module: module(latents, 500, texts, added_cond_kwargs=conditions).sample,
        DENOISER_FORMATS,
    )


def z_image_shape() -> Family:
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=512, n_layers=4, n_refiner_layers=1, n_heads=8, n_kv_heads=8, cap_feat_dim=512,
        axes_dims=[16, 24, 24], axes_lens=[1024, 64, 64],
    ).eval()  # fmt: skip
    latents, texts = [torch.randn(16, 1, 32, 32)], [torch.randn(32, 512)]
    return Family(
        "Z-Image's shape, random",
        transformer,
        lambda module: module(latents, torch.tensor([0.5]), texts, return_dict=False)[0][0],
        DENOISER_FORMATS,
    )


@torch.no_grad()
def measure(family: Family) -> Iterator[str]:
    """Rows of the table."""
    plain, expected = family.module, family.call(family.module)
    painted = family.paint(plain) if family.paint else None
    yield f"| {family.name} | float32 | {size_mb(plain):.1f} | 0 | 1 | {'0' if painted is not None else '-'} |\n"
    for name in family.formats:
        changed = copy.deepcopy(plain)
        CHANGES[name](changed)
        error = float((family.call(changed) - expected).norm() / expected.norm())
        levels = "-" if painted is None or family.paint is None else str(abs(family.paint(changed) - painted).max())
        speed = ratio_of_times(family.call, plain, changed)
        yield f"| | {name} | {size_mb(changed):.1f} | {error:.4f} | {speed:.2f} | {levels} |\n"


def size_mb(module: nn.Module) -> float:
    """Of its weights as they are stored."""
    return sum(_bytes_of(parameter) for parameter in module.parameters()) / 2**20


def _bytes_of(parameter: Any) -> int:
    if hasattr(parameter, "tensor_data_names"):  # torchao's
        inner = (getattr(parameter, name) for name in parameter.tensor_data_names)
        return sum(one.numel() * one.element_size() for one in inner)
    state = getattr(parameter, "quant_state", None)
    extra = state.absmax.numel() + 4 * state.absmax.numel() // 256 if state is not None else 0
    return int(parameter.numel() * parameter.element_size()) + extra


def ratio_of_times(call: Callable[[nn.Module], Any], plain: nn.Module, changed: nn.Module) -> float:
    """The median of interleaved pairs: above 1, the changed one is quicker."""
    ratios = []
    for _ in range(CALLS):
        times = []
        for module in (plain, changed):
            start = time.perf_counter()
            call(module)
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def write_table(page: Path = PAGE) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = "| | format | MiB | relative error | speed | levels |\n|---|---|---|---|---|---|\n"
    for build in (starter_image, starter_vision, sdxl_shape, z_image_shape):
        table += "".join(measure(build()))
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    mute_libraries()
    write_table()
