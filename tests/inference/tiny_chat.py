"""Tiny vision-language models that chat, with random weights, in the layout that their repositories have on the Hub."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma4Config,
    Glm4vConfig,
    Idefics3Config,
    InternVLConfig,
    Lfm2VlConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    SmolVLMConfig,
)

from inference.checkpoints.chat_families import FAMILIES
from tests.inference.recent_families import MROPE, TEXT

MARKERS = (
    "<start>", "<end>", "<image>", "<video>", "<audio>", "<vision>", "</vision>", "<global-img>",
    "<fake_token_around_image>", "<end_of_utterance>", "<think>", "</think>", "<|channel>", "<channel|>",
)  # fmt: skip
NAMED = {
    "image_token": "<image>", "video_token": "<video>", "audio_token": "<audio>", "boi_token": "<vision>",
    "eoi_token": "</vision>", "boa_token": "<vision>", "eoa_token": "</vision>", "start_image_token": "<vision>",
    "end_image_token": "</vision>", "context_image_token": "<image>",
}  # fmt: skip
"""What processors ask their tokenizer for."""
TEMPLATE = (
    "{% for message in messages %}<start>{{ message['role'] }} "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end>{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant "
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)
_AROUND = "<vision><image></vision>"
_SURROUNDED = ("glm4v", "qwen2_vl", "qwen2_5_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe")
IMAGE_MARKERS = {"gemma3": "<vision>", **dict.fromkeys(_SURROUNDED, _AROUND)}
"""What stands for an image in a template, where it is not the image token alone."""
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_QWEN_VISION: dict[str, Any] = {
    "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 16, "out_hidden_size": 16,
}  # fmt: skip


def make_chat_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each printable ASCII character and marker, as bytes: for some families Transformers makes a
    tokenizer of its own from the vocabulary, which is of bytes."""
    letters = ("[PAD]", "[UNK]", "[BOS]", "\u0120", "\u010a", *map(chr, range(33, 127)))
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=4096, unk_token="[UNK]", pad_token="[PAD]", eos_token="<end>",
        extra_special_tokens=NAMED,
    )  # fmt: skip
    made.add_special_tokens({"additional_special_tokens": list(MARKERS)})
    return made


def save_chat(folder: Path, family: str) -> Path:
    """A model of the family, by its `model_type`."""
    torch.manual_seed(0)
    tokenizer = make_chat_tokenizer()
    made = {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS}
    config, image_settings, settings = MAKERS[family](made, len(tokenizer))
    model = AutoModelForImageTextToText.from_config(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3 if "embed" in name else 0.15)
    model.generation_config.eos_token_id = made["<end>"]
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kind = FAMILIES[family].image_processor or FAMILIES[family].processor.replace("Processor", "ImageProcessor")
    getattr(transformers, kind)(**image_settings).save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": FAMILIES[family].processor, **settings})
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("<image>", IMAGE_MARKERS.get(family, "<image>")))
    return folder


Made = tuple[PreTrainedConfig, dict[str, Any], dict[str, Any]]
"""The model's config, its image processor's settings and its processor's."""
Maker = Callable[[Mapping[str, int], int], Made]
"""Of the ids of the markers and the size of the vocabulary."""


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    return {**TEXT, "vocab_size": vocabulary, "head_dim": 8, **ids, **more}


def _qwen_ids(ids: Mapping[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["<image>"], "video_token_id": ids["<video>"],
        "vision_start_token_id": ids["<vision>"], "vision_end_token_id": ids["</vision>"],
    }  # fmt: skip


_QWEN_IMAGES = {"patch_size": 16, "min_pixels": 32 * 32, "max_pixels": 64 * 64}


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def _qwen3_vl(kind: Callable[..., PreTrainedConfig], **experts: int) -> Maker:
    def make(ids: Mapping[str, int], vocabulary: int) -> Made:
        vision = {**_QWEN_VISION, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text = _text(vocabulary, rope_parameters=MROPE, **experts)
        return kind(text_config=text, vision_config=vision, **_qwen_ids(ids)), _QWEN_IMAGES, {}

    return make


def _qwen2_vl(ids: Mapping[str, int], vocabulary: int) -> Made:
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 14, "mlp_ratio": 1}
    text = _text(vocabulary, rope_parameters=MROPE)
    return (
        Qwen2VLConfig(text_config=text, vision_config=vision, **_qwen_ids(ids)),
        {**_QWEN_IMAGES, "patch_size": 14},
        {},
    )


def _glm4v(ids: Mapping[str, int], vocabulary: int) -> Made:
    vision = {**_QWEN_VISION, "patch_size": 14, "image_size": 56}
    config = Glm4vConfig(
        text_config=_text(vocabulary, rope_parameters=MROPE), vision_config=vision, image_token_id=ids["<image>"],
        video_token_id=ids["<video>"], image_start_token_id=ids["<vision>"], image_end_token_id=ids["</vision>"],
    )  # fmt: skip
    return config, {"patch_size": 14, "size": {"shortest_edge": 28 * 28, "longest_edge": 128 * 128}}, {}


def _qwen2_5_vl(ids: Mapping[str, int], vocabulary: int) -> Made:
    vision = {**_QWEN_VISION, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [0]}
    text = _text(vocabulary, rope_parameters=MROPE)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_qwen_ids(ids))
    return config, {**_QWEN_IMAGES, "patch_size": 14}, {}


def _qwen3_5(kind: Callable[..., PreTrainedConfig], **experts: int) -> Maker:
    def make(ids: Mapping[str, int], vocabulary: int) -> Made:
        vision = {**_QWEN_VISION, "num_position_embeddings": 64}
        linear = {
            "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
            "linear_num_value_heads": 2, "layer_types": ["linear_attention", "linear_attention", "full_attention"],
        }  # fmt: skip
        rope = {**MROPE, "partial_rotary_factor": 1.0}
        text = _text(vocabulary, rope_parameters=rope, **linear, **experts)
        return kind(text_config=text, vision_config=vision, **_qwen_ids(ids)), _QWEN_IMAGES, {}

    return make


def _gemma4(ids: Mapping[str, int], vocabulary: int) -> Made:
    text = _text(
        vocabulary, sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        vocab_size_per_layer_input=vocabulary, hidden_size_per_layer_input=4, num_kv_shared_layers=1, global_head_dim=8,
        use_bidirectional_attention="vision",
    )  # fmt: skip
    vision = {**_VISION, "num_key_value_heads": 2, "head_dim": 8, "patch_size": 4, "position_embedding_size": 256}
    config = Gemma4Config(
        text_config=text, vision_config=vision, audio_config=None, image_token_id=ids["<image>"],
        video_token_id=ids["<video>"], boi_token_id=ids["<vision>"], eoi_token_id=ids["</vision>"],
    )  # fmt: skip
    return config, {"patch_size": 4, "max_soft_tokens": 70}, {}


def _gemma3(ids: Mapping[str, int], vocabulary: int) -> Made:
    text = _text(vocabulary, sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    config = Gemma3Config(
        text_config=text, vision_config={**_VISION, "image_size": 32, "patch_size": 8}, mm_tokens_per_image=4,
        image_token_index=ids["<image>"], boi_token_index=ids["<vision>"], eoi_token_index=ids["</vision>"],
    )  # fmt: skip
    return config, {"size": {"height": 32, "width": 32}}, {"image_seq_length": 4}


def _idefics(kind: Callable[..., PreTrainedConfig]) -> Maker:
    def make(ids: Mapping[str, int], vocabulary: int) -> Made:
        config = kind(
            text_config=_text(vocabulary, model_type="llama"), scale_factor=2,
            vision_config={**_VISION, "image_size": 32, "patch_size": 8}, image_token_id=ids["<image>"], pad_token_id=0,
        )  # fmt: skip
        image = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}, "do_image_splitting": True}
        return config, image, {"image_seq_len": 4}

    return make


def _llava_onevision(ids: Mapping[str, int], vocabulary: int) -> Made:
    vision = {
        **_VISION,
        "model_type": "siglip_vision_model",
        "image_size": 16,
        "patch_size": 8,
        "vision_use_head": False,
    }
    grid = [[16, 16], [16, 32], [32, 16], [32, 32]]
    config = LlavaOnevisionConfig(
        text_config=_text(vocabulary, model_type="qwen2"), vision_config=vision, image_token_index=ids["<image>"],
        video_token_index=ids["<video>"], image_grid_pinpoints=grid, vision_aspect_ratio="anyres_max_9",
    )  # fmt: skip
    image = {"size": {"height": 16, "width": 16}, "image_grid_pinpoints": grid}
    return config, image, {"num_image_tokens": 4, "vision_feature_select_strategy": "full"}


_CLIP = {**_VISION, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8}
_CLIP_IMAGES = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
_LLAVA = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}


def _llava(ids: Mapping[str, int], vocabulary: int) -> Made:
    config = LlavaConfig(
        text_config=_text(vocabulary, model_type="llama"), vision_config=_CLIP, image_token_index=ids["<image>"],
        image_seq_length=4, vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    return config, _CLIP_IMAGES, _LLAVA


def _llava_next(ids: Mapping[str, int], vocabulary: int) -> Made:
    grid = {"image_grid_pinpoints": [[16, 16], [16, 32], [32, 16], [32, 32]]}
    config = LlavaNextConfig(
        text_config=_text(vocabulary, model_type="llama"), vision_config=_CLIP, image_token_index=ids["<image>"],
        vision_feature_layer=-1, vision_feature_select_strategy="default", **grid,
    )  # fmt: skip
    return config, {**_CLIP_IMAGES, **grid}, _LLAVA


def _internvl(ids: Mapping[str, int], vocabulary: int) -> Made:
    vision = {**_VISION, "image_size": [16, 16], "patch_size": [4, 4]}
    config = InternVLConfig(
        text_config=_text(vocabulary, model_type="qwen2"), vision_config=vision, image_token_id=ids["<image>"],
        image_seq_length=4,
    )  # fmt: skip
    return config, {"size": {"height": 16, "width": 16}, "max_patches": 2}, {"image_seq_length": 4}


def _lfm2_vl(ids: Mapping[str, int], vocabulary: int) -> Made:
    text = _text(vocabulary, model_type="lfm2", layer_types=["conv", "full_attention", "conv"], conv_L_cache=3)
    del text["head_dim"]
    vision = {**_VISION, "model_type": "siglip2_vision_model", "patch_size": 16, "num_patches": 16}
    config = Lfm2VlConfig(
        text_config=text, vision_config=vision, image_token_id=ids["<image>"], projector_hidden_size=16,
        downsample_factor=2,
    )  # fmt: skip
    image = {"min_image_tokens": 1, "max_image_tokens": 4, "max_num_patches": 16, "do_image_splitting": False}
    return config, image, {}


MAKERS: Mapping[str, Maker] = {
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "glm4v": _glm4v,
    "idefics3": _idefics(Idefics3Config),
    "internvl": _internvl,
    "lfm2_vl": _lfm2_vl,
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_5": _qwen3_5(Qwen3_5Config),
    "qwen3_5_moe": _qwen3_5(Qwen3_5MoeConfig, **_EXPERTS, shared_expert_intermediate_size=16),
    "qwen3_vl": _qwen3_vl(Qwen3VLConfig),
    "qwen3_vl_moe": _qwen3_vl(Qwen3VLMoeConfig, **_EXPERTS),
    "smolvlm": _idefics(SmolVLMConfig),
}
