"""The text-to-mask model, in CLIPSeg's layout, and its loss.

The library freezes the encoders inside the model's `forward`; here they are trained together with the decoder, so the
loss calls the parts. Each image is encoded once for all its phrases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPSegTextConfig,
    CLIPSegVisionConfig,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from training.objects import OBJECTS
from training.phrases import PhraseWriter, phrase_words
from training.prompts import build_tokenizer
from training.runs import mixed_precision
from training.segment_data import MaskDataset, MaskedScene
from training.shapes import SHAPES
from training.world import Thing

WIDTH = 128
SIDE, PATCH = 96, 8
"""Image side after the processor, in pixels, and that of a patch."""
LONGEST_PHRASE = 24
SPECIAL_TOKENS = ("<pad>", "<s>", "<unk>", "</s>")
"""The end is not number 2, which Transformers takes for a faulty old configuration of CLIP's."""
NAMES = (*(Thing(name) for name in (*OBJECTS, *SHAPES)),)
NAME_INDEX = {thing.name: number for number, thing in enumerate(NAMES)}
GROUND_INDEX, IGNORED = len(NAMES), -100
NAMING_WEIGHT = 1.0
DICE_WEIGHT = 0.5
MIN_CONFIDENCE = 0.99
"""Probability of the pixels of things that are there. Chosen on 400 held-out scenes: at 0.5, one mask in seven for a
missing thing was not empty."""


def build_segment_processor() -> CLIPSegProcessor:
    """Any image to 96 x 96 in [-1, 1], and the vocabulary of regions."""
    tokenizer = build_tokenizer(phrase_words(), LONGEST_PHRASE, adds_eos=True, special=SPECIAL_TOKENS)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    size = {"height": SIDE, "width": SIDE}
    return CLIPSegProcessor(ViTImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3), tokenizer)


def build_segmenter(processor: CLIPSegProcessor) -> CLIPSegForImageSegmentation:
    """An untrained model of 1.4 M parameters whose masks have the resolution of the processor's image."""
    tokenizer = processor.tokenizer
    text = CLIPSegTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LONGEST_PHRASE,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPSegVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        initializer_range=0.05,
    )
    config = CLIPSegConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=WIDTH,
        extract_layers=[0, 3],
        reduce_dim=64,
        decoder_num_attention_heads=1,
        decoder_intermediate_size=192,
    )
    model = CLIPSegForImageSegmentation(config)
    words = model.clip.text_model.get_input_embeddings().weight
    nn.init.normal_(words, std=0.5)
    with (
        torch.no_grad()
    ):  # or all phrases start out alike: their end, where they are pooled, would outweigh their words
        words[tokenizer.eos_token_id] *= 0.05
    nn.init.normal_(model.clip.vision_model.embeddings.position_embedding.weight, std=0.3)
    return model


class SegmentLoss:
    """Loss of the masks of the phrases, and of naming each patch of the image."""

    def __init__(
        self, model: CLIPSegForImageSegmentation, processor: CLIPSegProcessor, dataset: MaskDataset, batch: int = 32
    ) -> None:
        self.model, self.tokenizer, self.batch = model, processor.tokenizer, batch
        self.dataset = dataset

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        images, scenes, phrases, masks = self.dataset.sample_batch(rng, self.batch)
        images, masks = resize_images(images), resize_images(masks[:, None])[:, 0]
        names = [*map(PhraseWriter(rng).write_thing, NAMES), PhraseWriter(rng).write_ground()]
        with mixed_precision():
            states = self.model.clip.vision_model(pixel_values=images, output_hidden_states=True).hidden_states
            texts = self._encode_texts([*phrases, *names])
            activations = [states[layer + 1] for layer in self.model.extract_layers]
            repeated = [one.repeat_interleave(self.dataset.queries, dim=0) for one in activations]
            logits = self.model.decoder(repeated, texts[: len(phrases)]).logits.float()
            naming = self._naming_loss(states[-1], texts[len(phrases) :], scenes)
        return mask_loss(logits, masks) + NAMING_WEIGHT * naming

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        inputs = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        features: Tensor = self.model.clip.get_text_features(**inputs).pooler_output
        return features

    def _naming_loss(self, states: Tensor, names: Tensor, scenes: Sequence[MaskedScene]) -> Tensor:
        """Cross entropy of each patch's name among all names; without it, objects take hours to tell apart."""
        clip = self.model.clip
        patches = clip.visual_projection(clip.vision_model.post_layernorm(states[:, 1:])).float()
        similarity = F.normalize(patches, dim=-1) @ F.normalize(names.float(), dim=-1).T
        logits, targets = (similarity * clip.logit_scale.exp()).flatten(0, 1), patch_names(scenes).flatten()
        is_ground = targets == GROUND_INDEX
        thing_targets = targets.masked_fill(is_ground, IGNORED)
        ground_targets = targets.masked_fill(~is_ground, IGNORED)
        return F.cross_entropy(logits, thing_targets) + 0.5 * F.cross_entropy(logits, ground_targets)


def resize_images(images: Tensor) -> Tensor:
    """To the model's input size."""
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)


def patch_names(scenes: Sequence[MaskedScene]) -> Tensor:
    """Which of the names, or the ground, fills each patch: shape (scenes, patches); mixed ones are ignored."""
    rows = []
    for scene in scenes:
        coverage = F.avg_pool2d(resize_images(torch.from_numpy(scene.masks)[None])[0], PATCH)
        most, which = coverage.max(dim=0)
        numbers = torch.tensor([NAME_INDEX[thing.name] for thing in scene.things])[which]
        numbers[most < 0.5] = IGNORED
        numbers[coverage.sum(dim=0) < 0.05] = GROUND_INDEX
        rows.append(numbers.flatten())
    return torch.stack(rows)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy, and the Dice loss of the masks that are not empty."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    predicted, areas = logits.sigmoid(), masks.sum(dim=(1, 2))
    both = (predicted * masks).sum(dim=(1, 2))
    dice = 1 - (2 * both + 1) / (predicted.sum(dim=(1, 2)) + areas + 1)
    return entropy + DICE_WEIGHT * dice[areas > 0].mean()
