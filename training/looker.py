"""The model that looks at pictures: a small BLIP-2, its processor, and what it learns from.

A picture is looked at once a step and asked about several times, because looking costs most.
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
        said = asked_about(shown, Asker(rng), self.texts)
        with fast_arithmetic():
            return words_loss(self.model, self.tokenizer, look(self.model, pictures), said)


Said = list[tuple[str, str]]
"""What the model is given after the picture, and what it should go on with."""


def asked_about(shown: Sequence[Scene], asker: Asker, texts: int) -> Said:
    """For each scene its caption and `texts` - 1 questions."""
    said: Said = []
    for scene in shown:
        asked = [asker.ask(scene) for _ in range(texts - 1)]
        said += [("", scene.caption), *((one.text, one.answer) for one in asked)]
    return said


def words_loss(
    model: Blip2ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, seen: Tensor, said: Said
) -> Tensor:
    """How far the model is from saying it; `seen` has shape (n, 8, 192), `said` as many texts for each of the n."""
    ids, targets = _to_ids(tokenizer, said)
    words = model.get_input_embeddings()(ids)
    given = torch.cat([seen.to(words.dtype).repeat_interleave(len(said) // len(seen), dim=0), words], dim=1)
    real = torch.cat([torch.ones(len(ids), QUERIES).long(), (ids != 0).long()], dim=1)
    logits = model.language_model(inputs_embeds=given, attention_mask=real).logits[:, QUERIES:-1].float()
    return F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)


def _to_ids(tokenizer: PreTrainedTokenizerFast, said: Said) -> tuple[Tensor, Tensor]:
    """Token ids and targets, both of shape (len(said), longest), padded on the right."""
    heads = tokenizer([head for head, _ in said]).input_ids
    tails = tokenizer([tail for _, tail in said], add_special_tokens=False).input_ids
    longest = max(len(h) + len(t) + 1 for h, t in zip(heads, tails, strict=True))
    ids = torch.zeros(len(said), longest, dtype=torch.long)
    targets = torch.full_like(ids, -100)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        whole = torch.tensor([*head, *tail, tokenizer.eos_token_id])
        ids[row, : len(whole)] = whole
        targets[row, len(head) : len(whole)] = whole[len(head) :]
    return ids, targets


def look(model: Blip2ForConditionalGeneration, pictures: Tensor) -> Tensor:
    """What the language model is shown of pictures: shape (n, 8, 192)."""
    return model.language_projection(bridge(model, pictures))


def bridge(model: Blip2ForConditionalGeneration, pictures: Tensor) -> Tensor:
    """What the queries found in pictures: shape (n, 8, 192)."""
    patches = model.vision_model(pixel_values=pictures).last_hidden_state
    queries = model.query_tokens.expand(len(pictures), -1, -1)
    found: Tensor = model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
    return found


class AnswersLoss:
    """Many more questions, most to answer yes or no, to pictures that were looked at once: only words are learned.

    That the word asked about is the word for what is seen is a thing of its own to learn. Beside seeing it is not
    learned at all in some thousand steps; alone, in some hundred.
    """

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        views: Views,
        looked: int,
        batch: int = 32,
        texts: int = 8,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.batch, self.texts = min(batch, looked), texts
        for part in (model.vision_model, model.qformer):
            part.requires_grad_(False)
        model.query_tokens.requires_grad_(False)
        self.found, self.shown = self._look(views, looked)

    @torch.no_grad()
    def _look(self, views: Views, looked: int) -> tuple[Tensor, list[Scene]]:
        rng, found, shown = np.random.default_rng(5), [], []
        for start in tqdm(range(0, looked, 64), "looking"):
            pictures, scenes = views.batch(rng, min(64, looked - start))
            with fast_arithmetic():
                found.append(bridge(self.model, pictures).float())
            shown += scenes
        return torch.cat(found), shown

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        picked = rng.integers(len(self.shown), size=self.batch)
        said = asked_about([self.shown[i] for i in picked], Asker(rng, yes_or_no=0.6), self.texts)
        with fast_arithmetic():
            seen = self.model.language_projection(self.found[torch.from_numpy(picked)])
            return words_loss(self.model, self.tokenizer, seen, said)
