"""Tiny models with random weights, built from configs and saved as ordinary folders."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    OPTConfig,
    PreTrainedTokenizerFast,
    T5Config,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

WORDS = ("a", "fox", "cat", "on", "the", "red", "blue", "background", "Question", "Answer", ":", "?", ",", "what", "is")


def make_tokenizer(max_length: int = 16) -> PreTrainedTokenizerFast:
    """One token for each known word; other words are [UNK]."""
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        pad_token="[PAD]",
    )


def save_diffusion(folder: Path, *, halvings: int = 3) -> Path:
    """A Stable Diffusion pipeline; about 200,000 parameters. `halvings`: from pixels to latents."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    StableDiffusionPipeline(
        unet=_make_unet(),
        vae=make_autoencoder(halvings),
        text_encoder=_make_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_editor(folder: Path) -> Path:
    """An InstructPix2Pix pipeline, whose UNet also gets the input image's latents."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    StableDiffusionInstructPix2PixPipeline(
        unet=_make_unet(in_channels=8),
        vae=make_autoencoder(3),
        text_encoder=_make_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _make_unet(in_channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
    )


def make_autoencoder(halvings: int = 3, **more: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * (halvings + 1),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * (halvings + 1),
        up_block_types=("UpDecoderBlock2D",) * (halvings + 1),
        latent_channels=4,
        **more,
    )


def _make_text_encoder(vocabulary: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    return CLIPTextModel(config)


def save_blip(folder: Path, language: str = "opt") -> Path:
    """A BLIP-2 with an OPT ("opt") or Flan-T5 ("t5") language model, for 16 x 16 pixels."""
    torch.manual_seed(0)
    image = BlipImageProcessorPil(size={"height": 16, "width": 16})
    processor = Blip2Processor(image, make_tokenizer(512), num_query_tokens=4)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vocabulary = len(processor.tokenizer)
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    if language == "opt":
        text = OPTConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            word_embed_proj_dim=32,
            max_position_embeddings=128,
            **ids,
        )
    else:
        text = T5Config(
            vocab_size=vocabulary,
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
            **ids,
        )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(image_size=16, patch_size=8, **size).to_dict(),
        qformer_config=Blip2QFormerConfig(vocab_size=20, encoder_hidden_size=32, **size).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_matcher(folder: Path) -> Path:
    """A BLIP-2 that matches texts with images of 16 x 16 pixels, by 4 queries in a shared space of 8 numbers."""
    torch.manual_seed(0)
    image = BlipImageProcessorPil(size={"height": 16, "width": 16})
    processor = Blip2Processor(image, make_tokenizer(512), num_query_tokens=4)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    queries = Blip2QFormerConfig(vocab_size=20, encoder_hidden_size=32, use_qformer_text_input=True, **size)
    config = Blip2Config(
        vision_config=Blip2VisionConfig(image_size=16, patch_size=8, **size).to_dict(),
        qformer_config=queries.to_dict(),
        num_query_tokens=4,
        image_text_hidden_size=8,
    )
    model = Blip2ForImageTextRetrieval(config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)  # Transformers' own, 1e-10, vanish in float16
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


LABELS = ("normal", "nsfw")


def save_classifier(folder, *, bias=(0.0, 0.0), labels=LABELS):
    """`bias`: of the head, one per label; its other weights are 0, which gives every image the same score."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=8, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder
