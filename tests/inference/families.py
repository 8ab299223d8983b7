"""Tiny models of the presets' families, with random weights, saved as ordinary folders."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, Qwen3Config, Qwen3ForCausalLM

from tests.inference.tiny import make_autoencoder, make_tokenizer

CHAT = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def save_sdxl(folder: Path) -> Path:
    """Two text encoders, and size conditioning."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=16, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, block_out_channels=(16, 32), norm_num_groups=8, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        unet=unet,
        vae=make_autoencoder(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    ).save_pretrained(folder)
    return folder


def save_klein(folder: Path) -> Path:
    """FLUX.2 klein: packed latents, a language model as text encoder, no guidance."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(512)
    tokenizer.chat_template = CHAT
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
        layers_per_block=1, latent_channels=4,
    )  # fmt: skip
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=_language_model(len(tokenizer), layers=28),
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    ).save_pretrained(folder)
    return folder


def save_z_image(folder: Path) -> Path:
    """Z-Image: one stream of text and image tokens."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(512)
    tokenizer.chat_template = CHAT
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=make_autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_language_model(len(tokenizer), layers=3),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def _language_model(vocabulary: int, *, layers: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=512, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)
