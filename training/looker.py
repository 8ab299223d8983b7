"""The model that looks at pictures: a small BLIP-2, its processor, and what it learns from.

A picture is looked at once a step and asked about several times, because looking costs most.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
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

from training.questions import Asker, question_words
from training.runs import fast_arithmetic
from training.vision_data import SIDE, Views
from training.words import build_tokenizer
from training.world import Scene

QUERIES = 8
WIDTH = 192
IMAGE_TOKEN = "<image>"
LONGEST_TEXT = 64


def build_processor() -> Blip2Processor:
    """Pictures to 64 px, words to numbers, and room for the picture before the words."""
    tokenizer = build_tokenizer(question_words(), LONGEST_TEXT, ends=False, extra=(IMAGE_TOKEN,))
    return Blip2Processor(build_pictures(), tokenizer, num_query_tokens=QUERIES)


def build_pictures() -> BlipImageProcessorPil:
    """What turns any picture into 64 x 64 numbers in [-1, 1]."""
    return BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def build_looker(tokenizer: PreTrainedTokenizerFast) -> Blip2ForConditionalGeneration:
    """An untrained BLIP-2 of 2.5 M parameters.

    The library's own spread for the picture tower, 1e-10, is for weights that are loaded later.
    """
    wide = {"hidden_size": WIDTH, "num_attention_heads": 4}
    sight = Blip2VisionConfig(
        **wide,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        image_size=SIDE,
        patch_size=8,
        initializer_range=0.05,
    )
    bridge = Blip2QFormerConfig(
        **wide,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        encoder_hidden_size=WIDTH,
        cross_attention_frequency=1,
        vocab_size=len(tokenizer),
        hidden_dropout_prob=0.0,
        initializer_range=0.05,
        attention_probs_dropout_prob=0.0,
    )
    speech = OPTConfig(
        **wide,
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
        vision_config=sight,
        qformer_config=bridge,
        text_config=speech,
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    model = Blip2ForConditionalGeneration(config)
    for places in (model.query_tokens, model.vision_model.embeddings.position_embedding):
        nn.init.normal_(places, std=0.5)
    return model


class LookerLoss:
    """What the model learns from: answers, and captions where nothing was asked."""

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        views: Views,
        batch: int = 32,
        texts: int = 6,
    ) -> None:
        self.model, self.tokenizer, self.views = model, tokenizer, views
        self.batch, self.texts = batch, texts

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        pictures, shown = self.views.batch(rng, self.batch)
        ids, targets = self._texts(shown, rng)
        with fast_arithmetic():
            seen = look(self.model, pictures).repeat_interleave(self.texts, dim=0)
            words = self.model.get_input_embeddings()(ids)
            given = torch.cat([seen.to(words.dtype), words], dim=1)
            real = torch.cat([torch.ones(len(ids), QUERIES).long(), (ids != 0).long()], dim=1)
            output = self.model.language_model(inputs_embeds=given, attention_mask=real)
        logits = output.logits[:, QUERIES:-1].float()
        return F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)

    def _texts(self, shown: list[Scene], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Token ids and targets, both of shape (n * texts, longest), padded on the right."""
        asker = Asker(rng)
        pairs: list[tuple[str, str]] = []
        for what in shown:
            pairs.append(("", what.caption))
            asked = [asker.ask(what) for _ in range(self.texts - 1)]
            pairs += [(a.text, a.answer) for a in asked]
        heads = self.tokenizer([head for head, _ in pairs]).input_ids
        tails = self.tokenizer([tail for _, tail in pairs], add_special_tokens=False).input_ids
        longest = max(len(h) + len(t) + 1 for h, t in zip(heads, tails, strict=True))
        ids = torch.zeros(len(pairs), longest, dtype=torch.long)
        targets = torch.full_like(ids, -100)
        end = self.tokenizer.eos_token_id
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            whole = torch.tensor([*head, *tail, end])
            ids[row, : len(whole)] = whole
            targets[row, len(head) : len(whole)] = whole[len(head) :]
        return ids, targets


def look(model: Blip2ForConditionalGeneration, pictures: Tensor) -> Tensor:
    """What the language model is shown of pictures: shape (n, 8, 192)."""
    patches = model.vision_model(pixel_values=pictures).last_hidden_state
    queries = model.query_tokens.expand(len(pictures), -1, -1)
    seen = model.qformer(query_embeds=queries, encoder_hidden_states=patches)
    return model.language_projection(seen.last_hidden_state)
