"""Tiny models of the families of 2026, with random weights, in the layout that their repositories have on the Hub."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    QwenImage21Transformer2DModel,
    QwenImageTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Mistral3Config,
    Mistral3Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.inference.families import save_klein
from tests.inference.tiny import WORDS, make_tokenizer

MARKERS = ("<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 2048,
}  # fmt: skip
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
QWEN_VAE: dict[str, Any] = {"base_dim": 8, "z_dim": 4, "latents_mean": [0.1] * 4, "latents_std": [1.5] * 4}


def save_klein_kv(folder: Path) -> Path:
    """FLUX.2 klein, which keeps the keys and values of its references."""
    index = json.loads((save_klein(folder) / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": Flux2KleinKVPipeline.__name__}))
    return folder


def save_krea2(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = make_qwen_tokenizer()
    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=2, text_num_attention_heads=2,
        text_num_key_value_heads=2, text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2),
    )  # fmt: skip
    Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=make_qwen_vae(),
        text_encoder=Qwen3VLModel(make_qwen3_vl_config(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer,
        text_encoder_select_layers=(1, 2),
        is_distilled=True,
    ).save_pretrained(folder)
    return folder


def save_qwen_image_21(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = make_qwen_tokenizer()
    _save_parts(
        folder,
        "QwenImage21Pipeline",
        ("Qwen3VLProcessor", tokenizer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage21(
            base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
            latents_mean=[0.1] * 4, latents_std=[1.5] * 4,
        ),
        text_encoder=Qwen3VLForConditionalGeneration(make_qwen3_vl_config(tokenizer)),
        transformer=QwenImage21Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            context_in_dim=16, mlp_ratio=2, axes_dims_rope=(8, 4, 4),
        ),
    )  # fmt: skip
    return folder


def save_qwen_edit(folder: Path) -> Path:
    """Qwen-Image-Edit 2511, whose reference images are modulated as if free of noise."""
    torch.manual_seed(0)
    tokenizer = make_qwen_tokenizer()
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 14, "window_size": 56,
        "out_hidden_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    encoder = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": MROPE},
        vision_config=vision,
        **_vision_ids(tokenizer),
    )
    _save_parts(
        folder,
        "QwenImageEditPlusPipeline",
        ("Qwen2VLProcessor", tokenizer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=make_qwen_vae(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(encoder),
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4), zero_cond_t=True,
        ),
    )  # fmt: skip
    return folder


def save_ernie(folder: Path) -> Path:
    """Its repository also has a language model that rewrites prompts, `pe`; here only the index names it."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(512)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = Mistral3Config(
        text_config={**TEXT, "model_type": "mistral", "vocab_size": len(tokenizer), "head_dim": 8},
        vision_config={**vision, "model_type": "pixtral", "image_size": 28, "patch_size": 14, "head_dim": 8},
        image_token_index=4,
    )
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
        text_in_dim=16, rope_axes_dim=(8, 4, 4),
    )  # fmt: skip
    _fill_zeros(transformer)
    ErnieImagePipeline(
        transformer=transformer,
        vae=AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
            layers_per_block=1, latent_channels=4,
        ),
        text_encoder=Mistral3Model(encoder),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(folder)  # fmt: skip
    index = json.loads((folder / "model_index.json").read_text())
    named = {
        "pe": ["transformers", "Ministral3ForCausalLM"],
        "pe_tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    }
    (folder / "model_index.json").write_text(json.dumps(index | named))
    return folder


def make_qwen_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each known word and marker, none at the start and the end."""
    words = ("[PAD]", "[UNK]", *WORDS, "system", "user", "assistant", "\n")
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=2048, unk_token="[UNK]", pad_token="[PAD]", eos_token="[PAD]"
    )
    made.add_special_tokens({"additional_special_tokens": list(MARKERS)})
    made.chat_template = TEMPLATE
    return made


def make_qwen_vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(**QWEN_VAE, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def make_qwen3_vl_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 16, "out_hidden_size": 16,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = {**TEXT, "vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": MROPE}
    return Qwen3VLConfig(text_config=text, vision_config=vision, **_vision_ids(tokenizer))


def _vision_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    return {name: tokenizer.convert_tokens_to_ids(marker) for name, marker in names.items()}


def _save_parts(folder: Path, pipeline: str, processor: tuple[str, PreTrainedTokenizerFast], **parts: Any) -> None:
    """A pipeline's folder without making the pipeline: its processor cannot be made by Transformers alone."""
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.42.1"}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
    kind, tokenizer = processor
    save_qwen_processor(folder / "processor", kind, tokenizer)
    (folder / "model_index.json").write_text(json.dumps(index | {"processor": ["transformers", kind]}))


def save_qwen_processor(folder: Path, kind: str, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
    """`kind`: its class."""
    (tokenizer or make_qwen_tokenizer()).save_pretrained(folder)
    patch_size = 14 if kind == "Qwen2VLProcessor" else 16
    Qwen2VLImageProcessorPil(patch_size=patch_size, min_pixels=32 * 32, max_pixels=64 * 64).save_pretrained(folder)
    settings = folder / "preprocessor_config.json"
    as_on_the_hub = {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": kind}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | as_on_the_hub))


def _fill_zeros(module: torch.nn.Module) -> None:
    """Random values for weights that a model starts with at zero: its output would be zero."""
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
