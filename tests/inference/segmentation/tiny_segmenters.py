"""Tiny text-to-mask models with random weights, built from configs and saved as ordinary folders."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    PreTrainedTokenizerFast,
    Sam2Config,
    Sam2Model,
    Sam3LiteTextConfig,
    Sam3LiteTextModel,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.inference.tiny import make_tokenizer

TRANSFORMER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_clipseg(folder: Path) -> Path:
    """Masks of 32 x 32, from an image size that differs from the config's, as the published weights have."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    text = {
        **TRANSFORMER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 16,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = CLIPSegConfig(
        text_config=text,
        vision_config={**TRANSFORMER, "image_size": 16, "patch_size": 8},
        projection_dim=16,
        reduce_dim=8,
        extract_layers=[0, 1],
        decoder_num_attention_heads=1,
        decoder_intermediate_size=8,
    )
    model = CLIPSegForImageSegmentation(config)
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = _bert_tokenizer()
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2, hidden_size=64,
            out_features=["stage2", "stage3", "stage4"], patch_size=4,
        ),
        text_config=BertConfig(**TRANSFORMER, vocab_size=len(tokenizer), max_position_embeddings=64),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=8,
        encoder_attention_heads=2, decoder_attention_heads=2, max_text_len=64, max_position_embeddings=64,
        disable_custom_kernels=True,
    )  # fmt: skip
    model = GroundingDinoForObjectDetection(config)
    _spread(model)
    model.save_pretrained(folder)
    image_processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def save_sam2(folder: Path) -> Path:
    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1], "image_size": [64, 64], "global_attention_blocks": [3],
                "window_size_per_stage": [8, 8, 8, 8], "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    Sam2Model(config).save_pretrained(folder)
    return folder


def save_sam3_lite_text(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    part = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_layers": 1}
    config = Sam3LiteTextConfig(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": {
                **TRANSFORMER, "model_type": "sam3_vit_model", "image_size": 56, "patch_size": 14, "window_size": 2,
                "global_attn_indexes": [1], "pretrain_image_size": 28,
            },
            "fpn_hidden_size": 16,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={**TRANSFORMER, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_dim": 16},
        geometry_encoder_config=part,
        detr_encoder_config=part,
        detr_decoder_config={**part, "num_queries": 4, "box_rpb_mode": "log"},
        mask_decoder_config={"hidden_size": 16, "num_upsampling_stages": 3, "num_attention_heads": 2},
    )  # fmt: skip
    Sam3LiteTextModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "a", "the", "fox", "hat", "red", "object")
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)


def _spread(model: torch.nn.Module) -> None:
    """Larger weights, so that words and images make a difference."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.normal_(std=0.3)
