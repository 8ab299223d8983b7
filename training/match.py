"""The image-text matching model and its loss.

It uses the frozen vision encoder of `starter-vision`; its queries, text embeddings and heads are its own.
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

from training.prompts import PromptWriter, build_tokenizer, prompt_words
from training.runs import mixed_precision
from training.vision_data import VisionDataset
from training.vision_model import IMAGE_TOKEN, LONGEST_TEXT, QUERIES, WIDTH, build_image_processor
from training.world import Scene

TEMPERATURE = 0.05
EMBEDDING_WIDTH = 96
"""Width of the space in which images and texts are compared."""


def build_match_processor() -> Blip2Processor:
    """Images as for `starter-vision`; the vocabulary of prompts."""
    tokenizer = build_tokenizer(prompt_words(), LONGEST_TEXT, adds_eos=True, extra=(IMAGE_TOKEN,))
    return Blip2Processor(build_image_processor(), tokenizer, num_query_tokens=QUERIES)


def build_matcher(vision_model: Blip2ForConditionalGeneration, processor: Blip2Processor) -> Blip2ForImageTextRetrieval:
    """An untrained matching model behind a trained vision encoder, which is frozen."""
    tokenizer = processor.tokenizer
    qformer = Blip2QFormerConfig(
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
        vision_config=vision_model.config.vision_config,
        qformer_config=qformer,
        num_query_tokens=QUERIES,
        image_text_hidden_size=EMBEDDING_WIDTH,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    model = Blip2ForImageTextRetrieval(config)
    model.vision_model.load_state_dict(vision_model.vision_model.state_dict())
    model.vision_model.requires_grad_(False)
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    return model


class MatchLoss:
    """Contrastive loss within the batch (ITC) plus matching loss of pairs (ITM), on images and their wordings."""

    def __init__(
        self, model: Blip2ForImageTextRetrieval, processor: Blip2Processor, dataset: VisionDataset, batch: int
    ) -> None:
        self.model, self.dataset, self.batch = model, dataset, batch
        self.tokenizer = processor.tokenizer

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        images, scenes = self.dataset.sample_batch(rng, self.batch)
        writer = PromptWriter(rng)
        texts = [writer.write_prompt(scene) if writer.chance(0.5) else scene.caption for scene in scenes]
        inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with mixed_precision():
            with torch.no_grad():
                patches = self.model.vision_model(pixel_values=images).last_hidden_state
            similarity = self._similarity(patches, inputs)
            truth = matching_scenes(scenes)
            matching_loss = self._matching_loss(patches, inputs, similarity.detach(), truth)
            return contrastive_loss(similarity, truth) + matching_loss

    def _similarity(self, patches: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Of every image and every text: shape (images, texts)."""
        model = self.model
        queries = model.query_tokens.expand(len(patches), -1, -1)
        image_states = model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        embeds = model.embeddings(input_ids=inputs["input_ids"])
        output = model.qformer(query_embeds=embeds, query_length=0, attention_mask=inputs["attention_mask"])
        images = F.normalize(model.vision_projection(image_states).float(), dim=-1)
        texts = F.normalize(model.text_projection(output.last_hidden_state[:, 0]).float(), dim=-1)
        return torch.einsum("iqd,td->itq", images, texts).amax(-1)

    def _matching_loss(self, patches: Tensor, inputs: dict[str, Tensor], similarity: Tensor, truth: Tensor) -> Tensor:
        """Binary classification of correct pairs, and of hard negatives sampled by similarity."""
        count = len(patches) // 2
        negatives = (similarity / TEMPERATURE).masked_fill(truth, -1e4)[:count].softmax(dim=1)
        sampled = torch.multinomial(negatives, 1)[:, 0]
        rows = torch.cat([torch.arange(count), sampled])
        queries = self.model.query_tokens.expand(2 * count, -1, -1)
        embeds = self.model.embeddings(input_ids=inputs["input_ids"][rows], query_embeds=queries)
        mask = torch.cat([torch.ones(2 * count, QUERIES).long(), inputs["attention_mask"][rows]], dim=1)
        output = self.model.qformer(
            query_embeds=embeds,
            query_length=QUERIES,
            attention_mask=mask,
            encoder_hidden_states=patches[:count].repeat(2, 1, 1),
        )
        logits = self.model.itm_head(output.last_hidden_state[:, :QUERIES]).float().mean(dim=1)
        return F.cross_entropy(logits, torch.cat([torch.ones(count), torch.zeros(count)]).long())


def contrastive_loss(similarity: Tensor, truth: Tensor) -> Tensor:
    """Symmetric contrastive loss; `truth`: which texts match which images."""
    targets = truth.float()
    logits = similarity / TEMPERATURE
    by_image = F.cross_entropy(logits, targets / targets.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, targets.T / targets.T.sum(1, keepdim=True))
    return (by_image + by_text) / 2


def matching_scenes(scenes: list[Scene]) -> Tensor:
    """Which scenes of a batch are equal: shape (n, n)."""
    return torch.tensor([[one == other for other in scenes] for one in scenes])
