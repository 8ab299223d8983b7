"""Image-text matching with BLIP-2's two heads: ITM scores of pairs, and contrastive (ITC) embeddings.

The matching head (ITM) processes image and text jointly and is more accurate; embeddings (ITC) are computed once per
image and per text and compared by a dot product, as a search needs it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from inference.vision.feature_cache import Features


class ImageTextMatcher:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def encode_images(self, pixels: torch.Tensor) -> Features:
        """The features that both heads need: patches, (images, patches, width), and the output of `embed_images`."""
        patches = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return patches, self.embed_images(patches)

    def embed_images(self, patches: torch.Tensor) -> torch.Tensor:
        """Embeddings, (images, queries, width of the shared space), each of length 1.

        The similarity of an image and a text is the largest dot product of the text's with one of the image's.
        """
        queries = self._model.query_tokens.expand(len(patches), -1, -1)
        states = self._model.qformer(
            query_embeds=queries, encoder_hidden_states=patches, encoder_attention_mask=_full_mask(patches)
        ).last_hidden_state
        projection = self._model.vision_projection
        return normalize(projection(states.to(projection.weight.dtype)), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings, (texts, width of the shared space), each of length 1."""
        ids, mask = self._tokenize(texts)
        embeds = self._model.embeddings(input_ids=ids)
        states = self._model.qformer(query_embeds=embeds, query_length=0, attention_mask=mask).last_hidden_state
        projection = self._model.text_projection
        return normalize(projection(states[:, 0].to(projection.weight.dtype)), dim=-1)

    def match_logits(self, patches: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """The logit of the probability that each text matches its image, (texts,), in float32.

        `patches`: (texts, patches, width).
        """
        ids, mask = self._tokenize(texts)
        queries = self._model.query_tokens.expand(len(texts), -1, -1)
        embeds = self._model.embeddings(input_ids=ids, query_embeds=queries)
        states = self._model.qformer(
            query_embeds=embeds,
            query_length=queries.shape[1],
            attention_mask=torch.cat([_full_mask(queries), mask], dim=1),
            encoder_hidden_states=patches,
            encoder_attention_mask=_full_mask(patches),
        ).last_hidden_state
        head = self._model.itm_head
        logits = head(states[:, : queries.shape[1]].to(head.weight.dtype)).mean(dim=1)
        mismatch, match = logits.float().unbind(dim=-1)
        return match - mismatch

    def _tokenize(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, (texts, tokens of the longest); truncated to the model's maximum length."""
        positions = int(self._model.config.qformer_config.max_position_embeddings)
        max_length = min(positions, self._tokenizer.model_max_length)
        inputs = self._tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        return inputs["input_ids"], inputs["attention_mask"]


def similarity(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """-1 to 1, (images, texts), of the embeddings of an `ImageTextMatcher`."""
    similarities: torch.Tensor = torch.einsum("iqd,td->itq", images.float(), texts.float()).amax(dim=-1)
    return similarities


def _full_mask(states: torch.Tensor) -> torch.Tensor:
    return torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
