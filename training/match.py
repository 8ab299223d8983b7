"""The model that says how well words fit a picture, and what it learns from.

It sees through the tower of `starter-vision`, which stays as it is; its queries, words and judgement are its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    Blip2QFormerConfig,
)

from training.looker import IMAGE_TOKEN, LONGEST_TEXT, QUERIES, WIDTH, build_pictures
from training.runs import fast_arithmetic
from training.vision_data import Views
from training.words import Speaker, build_tokenizer, prompt_words
from training.world import Scene

TEMPERATURE = 0.05
SHARED = 96
"""Width of the space in which pictures and words are compared."""


def build_match_processor() -> Blip2Processor:
    """Pictures as for `starter-vision`; the words of prompts."""
    tokenizer = build_tokenizer(prompt_words(), LONGEST_TEXT, ends=True, extra=(IMAGE_TOKEN,))
    return Blip2Processor(build_pictures(), tokenizer, num_query_tokens=QUERIES)


def build_matcher(seeing: Blip2ForConditionalGeneration, processor: Blip2Processor) -> Blip2ForImageTextRetrieval:
    """An untrained matcher behind a trained picture tower, which is frozen."""
    tokenizer = processor.tokenizer
    bridge = Blip2QFormerConfig(
        hidden_size=WIDTH,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        encoder_hidden_size=WIDTH,
        cross_attention_frequency=1,
        vocab_size=len(tokenizer),
        max_position_embeddings=LONGEST_TEXT,
        use_qformer_text_input=True,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
    )
    config = Blip2Config(
        vision_config=seeing.config.vision_config,
        qformer_config=bridge,
        num_query_tokens=QUERIES,
        image_text_hidden_size=SHARED,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    model = Blip2ForImageTextRetrieval(config)
    model.vision_model.load_state_dict(seeing.vision_model.state_dict())
    model.vision_model.requires_grad_(False)
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    return model


class MatchLoss:
    """Pictures and wordings of them: which belong together, in the batch (contrast) and pair by pair (matching)."""

    def __init__(self, model: Blip2ForImageTextRetrieval, processor: Blip2Processor, views: Views, batch: int) -> None:
        self.model, self.views, self.batch = model, views, batch
        self.tokenizer = processor.tokenizer

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        pictures, shown = self.views.batch(rng, self.batch)
        speaker = Speaker(rng)
        texts = [speaker.prompt(scene) if speaker.chance(0.5) else scene.caption for scene in shown]
        given = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with fast_arithmetic():
            with torch.no_grad():
                patches = self.model.vision_model(pixel_values=pictures).last_hidden_state
            similar = self._similarity(patches, given)
            truth = same(shown)
            return contrast(similar, truth) + self._matching(patches, given, similar.detach(), truth)

    def _similarity(self, patches: Tensor, given: dict[str, Tensor]) -> Tensor:
        """How alike every picture and every text are: shape (pictures, texts)."""
        model = self.model
        queries = model.query_tokens.expand(len(patches), -1, -1)
        seen = model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        words = model.embeddings(input_ids=given["input_ids"])
        read = model.qformer(query_embeds=words, query_length=0, attention_mask=given["attention_mask"])
        pictures = F.normalize(model.vision_projection(seen).float(), dim=-1)
        texts = F.normalize(model.text_projection(read.last_hidden_state[:, 0]).float(), dim=-1)
        return torch.einsum("pqd,td->ptq", pictures, texts).amax(-1)

    def _matching(self, patches: Tensor, given: dict[str, Tensor], similar: Tensor, truth: Tensor) -> Tensor:
        """Told apart pair by pair: right texts, and wrong ones that look right."""
        count = len(patches) // 2
        wrong = (similar / TEMPERATURE).masked_fill(truth, -1e4)[:count].softmax(dim=1)
        picked = torch.multinomial(wrong, 1)[:, 0]
        numbers = torch.cat([torch.arange(count), picked])
        queries = self.model.query_tokens.expand(2 * count, -1, -1)
        embedded = self.model.embeddings(input_ids=given["input_ids"][numbers], query_embeds=queries)
        mask = torch.cat([torch.ones(2 * count, QUERIES).long(), given["attention_mask"][numbers]], dim=1)
        output = self.model.qformer(
            query_embeds=embedded,
            query_length=QUERIES,
            attention_mask=mask,
            encoder_hidden_states=patches[:count].repeat(2, 1, 1),
        )
        logits = self.model.itm_head(output.last_hidden_state[:, :QUERIES]).float().mean(dim=1)
        return F.cross_entropy(logits, torch.cat([torch.ones(count), torch.zeros(count)]).long())


def contrast(similar: Tensor, truth: Tensor) -> Tensor:
    """Symmetric contrastive loss; `truth` says which texts are true of which pictures."""
    wanted = truth.float()
    logits = similar / TEMPERATURE
    by_picture = F.cross_entropy(logits, wanted / wanted.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, wanted.T / wanted.T.sum(1, keepdim=True))
    return (by_picture + by_text) / 2


def same(shown: list[Scene]) -> Tensor:
    """Which scenes of a batch are alike: shape (n, n)."""
    return torch.tensor([[one == other for other in shown] for one in shown])
