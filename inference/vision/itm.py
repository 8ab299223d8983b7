"""How well texts fit pictures: BLIP-2's two heads, and the space in which pictures and words can be compared.

The matching head looks at a picture and a text together, and is the better judge; embeddings are computed once for
each and compared by a product, as a search needs it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from inference.vision.feature_cache import Found


class Matcher:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def see(self, pixels: torch.Tensor) -> Found:
        """What both heads need of pictures: patches, (pictures, patches, width), and embeddings as `pictures` says."""
        patches = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return patches, self.pictures(patches)

    def pictures(self, patches: torch.Tensor) -> torch.Tensor:
        """Embeddings of pictures, (pictures, queries, width of the shared space), each of length 1.

        How alike a picture and a text are is the largest product of the text's with one of the picture's.
        """
        queries = self._model.query_tokens.expand(len(patches), -1, -1)
        seen = self._model.qformer(
            query_embeds=queries, encoder_hidden_states=patches, encoder_attention_mask=_whole(patches)
        ).last_hidden_state
        projection = self._model.vision_projection
        return normalize(projection(seen.to(projection.weight.dtype)), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of texts, (texts, width of the shared space), each of length 1."""
        ids, mask = self._read(texts)
        words = self._model.embeddings(input_ids=ids)
        read = self._model.qformer(query_embeds=words, query_length=0, attention_mask=mask).last_hidden_state
        projection = self._model.text_projection
        return normalize(projection(read[:, 0].to(projection.weight.dtype)), dim=-1)

    def fits(self, patches: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """How likely each text belongs to its picture, 0 to 1, (texts,). `patches`: (texts, patches, width)."""
        ids, mask = self._read(texts)
        queries = self._model.query_tokens.expand(len(texts), -1, -1)
        both = self._model.embeddings(input_ids=ids, query_embeds=queries)
        read = self._model.qformer(
            query_embeds=both,
            query_length=queries.shape[1],
            attention_mask=torch.cat([_whole(queries), mask], dim=1),
            encoder_hidden_states=patches,
            encoder_attention_mask=_whole(patches),
        ).last_hidden_state
        head = self._model.itm_head
        judged = head(read[:, : queries.shape[1]].to(head.weight.dtype)).mean(dim=1)
        chances: torch.Tensor = judged.float().softmax(dim=-1)[:, 1]
        return chances

    def _read(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, (texts, tokens of the longest); what is longer than the model reads is cut."""
        longest = min(int(self._model.config.qformer_config.max_position_embeddings), self._tokenizer.model_max_length)
        given = self._tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt").to(
            self._model.device
        )
        return given["input_ids"], given["attention_mask"]


def alike(pictures: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """-1 to 1, (pictures, texts), of embeddings as `Matcher` gives them."""
    found: torch.Tensor = torch.einsum("pqd,td->ptq", pictures.float(), texts.float()).amax(dim=-1)
    return found


def _whole(states: torch.Tensor) -> torch.Tensor:
    return torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
