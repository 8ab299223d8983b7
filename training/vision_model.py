"""The vision model: a small BLIP-2, its processor and its losses.

Each step encodes an image once and trains on several texts about it, because encoding costs most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm  # type: ignore[import-untyped]  # it ships no types
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from training.prompts import build_tokenizer
from training.questions import QuestionGenerator, question_words
from training.runs import mixed_precision
from training.vision_data import SIDE, VisionDataset
from training.world import Scene

QUERIES = 8
WIDTH = 192
IMAGE_TOKEN = "<image>"
LONGEST_TEXT = 64


def build_processor() -> Blip2Processor:
    """Images to 64 px, text to token ids, and image tokens before the text."""
    tokenizer = build_tokenizer(question_words(), LONGEST_TEXT, adds_eos=False, extra=(IMAGE_TOKEN,))
    return Blip2Processor(build_image_processor(), tokenizer, num_query_tokens=QUERIES)


def build_image_processor() -> BlipImageProcessorPil:
    """Resizes any image to 64 x 64, in [-1, 1]."""
    return BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def build_vision_model(tokenizer: PreTrainedTokenizerFast) -> Blip2ForConditionalGeneration:
    """An untrained BLIP-2 of 2.5 M parameters.

    The library's own initializer range of the vision encoder, 1e-10, is only meant for loaded weights.
    """
    size = {"hidden_size": WIDTH, "num_attention_heads": 4}
    vision = Blip2VisionConfig(
        **size,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        image_size=SIDE,
        patch_size=8,
        initializer_range=0.05,
    )
    qformer = Blip2QFormerConfig(
        **size,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        encoder_hidden_size=WIDTH,
        cross_attention_frequency=1,
        vocab_size=len(tokenizer),
        hidden_dropout_prob=0.0,
        initializer_range=0.05,
        attention_probs_dropout_prob=0.0,
    )
    language = OPTConfig(
        **size,
        vocab_size=len(tokenizer),
        word_embed_proj_dim=WIDTH,
        ffn_dim=2 * WIDTH,
        num_hidden_layers=2,
        max_position_embeddings=2 * LONGEST_TEXT,
        init_std=0.05,
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config=language,
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    model = Blip2ForConditionalGeneration(config)
    for embeddings in (model.query_tokens, model.vision_model.embeddings.position_embedding):
        nn.init.normal_(embeddings, std=0.5)
    return model


class LanguageLoss:
    """Trains on answers to questions, and on captions without one."""

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        dataset: VisionDataset,
        batch: int = 32,
        texts: int = 6,
    ) -> None:
        self.model, self.tokenizer, self.dataset = model, tokenizer, dataset
        self.batch, self.texts = batch, texts

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        images, scenes = self.dataset.sample_batch(rng, self.batch)
        pairs = make_text_pairs(scenes, QuestionGenerator(rng), self.texts)
        with mixed_precision():
            return text_loss(self.model, self.tokenizer, encode_images(self.model, images), pairs)


TextPairs = list[tuple[str, str]]
"""The prompt after the image, and the text to generate."""


def make_text_pairs(scenes: Sequence[Scene], questions: QuestionGenerator, texts: int) -> TextPairs:
    """For each scene its caption and `texts` - 1 questions."""
    pairs: TextPairs = []
    for scene in scenes:
        sampled = [questions.sample_question(scene) for _ in range(texts - 1)]
        pairs += [("", scene.caption), *((one.prompt, one.answer) for one in sampled)]
    return pairs


def text_loss(
    model: Blip2ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, image_features: Tensor, pairs: TextPairs
) -> Tensor:
    """Cross entropy of the texts; `image_features`: (n, 8, 192), `pairs`: equally many for each of the n images."""
    ids, targets = _tokenize_pairs(tokenizer, pairs)
    embeds = model.get_input_embeddings()(ids)
    features = image_features.to(embeds.dtype).repeat_interleave(len(pairs) // len(image_features), dim=0)
    inputs = torch.cat([features, embeds], dim=1)
    mask = torch.cat([torch.ones(len(ids), QUERIES).long(), (ids != 0).long()], dim=1)
    logits = model.language_model(inputs_embeds=inputs, attention_mask=mask).logits[:, QUERIES:-1].float()
    return F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)


def _tokenize_pairs(tokenizer: PreTrainedTokenizerFast, pairs: TextPairs) -> tuple[Tensor, Tensor]:
    """Token ids and targets, both of shape (len(pairs), longest), padded on the right."""
    prompts = tokenizer([prompt for prompt, _ in pairs]).input_ids
    answers = tokenizer([answer for _, answer in pairs], add_special_tokens=False).input_ids
    longest = max(len(p) + len(a) + 1 for p, a in zip(prompts, answers, strict=True))
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    targets = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        text = torch.tensor([*prompt, *answer, tokenizer.eos_token_id])
        ids[row, : len(text)] = text
        targets[row, len(prompt) : len(text)] = text[len(prompt) :]
    return ids, targets


def encode_images(model: Blip2ForConditionalGeneration, images: Tensor) -> Tensor:
    """Image features as the language model gets them: shape (n, 8, 192)."""
    return model.language_projection(run_qformer(model, images))


def run_qformer(model: Blip2ForConditionalGeneration, images: Tensor) -> Tensor:
    """The Q-Former's query states: shape (n, 8, 192)."""
    patches = model.vision_model(pixel_values=images).last_hidden_state
    queries = model.query_tokens.expand(len(images), -1, -1)
    states: Tensor = model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
    return states


class QuestionLoss:
    """Many more questions, mostly yes/no, about images that are encoded once: only the language model is trained.

    Matching the word in a question with the object in the image is a skill of its own. Trained together with vision, it
    is not learned within some thousand steps; alone, within some hundred.
    """

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        dataset: VisionDataset,
        image_count: int,
        batch: int = 32,
        texts: int = 8,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.batch, self.texts = min(batch, image_count), texts
        for module in (model.vision_model, model.qformer):
            module.requires_grad_(False)
        model.query_tokens.requires_grad_(False)
        self.query_states, self.scenes = self._encode_scenes(dataset, image_count)

    @torch.no_grad()
    def _encode_scenes(self, dataset: VisionDataset, image_count: int) -> tuple[Tensor, list[Scene]]:
        rng, states, scenes = np.random.default_rng(5), [], []
        for start in tqdm(range(0, image_count, 64), "encoding"):
            images, batch_scenes = dataset.sample_batch(rng, min(64, image_count - start))
            with mixed_precision():
                states.append(run_qformer(self.model, images).float())
            scenes += batch_scenes
        return torch.cat(states), scenes

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        rows = rng.integers(len(self.scenes), size=self.batch)
        questions = QuestionGenerator(rng, yes_no_share=0.6)
        pairs = make_text_pairs([self.scenes[i] for i in rows], questions, self.texts)
        with mixed_precision():
            features = self.model.language_projection(self.query_states[torch.from_numpy(rows)])
            return text_loss(self.model, self.tokenizer, features, pairs)
