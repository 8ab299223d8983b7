"""The image-text matching engine: compares texts with images in one step, and says what they are in the shared space.

Three commands (`Task.command`):

- `match`: one image and `options["texts"]`; answers with the words of `match_answer`.
- `RANK`: 1 to 16 images and `options["text"]`; answers with a `MatchScore` for each image: the logit of the matching
  head (matched minus not matched), and the similarity, which is the largest of the image's queries.
- `EMBED`: 1 to 16 images, or none and `options["text"]`; answers with an `Embedding` for each image, or that of the
  text: vectors of length 1 in float16. A text of which it knows no word gets none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.functional import normalize

from bot.commands.match import split_texts
from bot.error_texts import NO_TEXT_FITS
from bot.jobs import Media
from bot.ports import EMBED, RANK, Embedding, MatchScore, Task
from inference.engine.single_pass import PassOutput, SinglePassEngine
from inference.engine.tokenizer_notes import knows_words, question_notes
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of
from inference.memory.precision import dtype_name
from inference.vision.feature_cache import FeatureCache, Features
from inference.vision.image_encoder import ImageEncoder, ImageInput
from inference.vision.itm import ImageTextMatcher, similarity
from inference.vision.loader import load_matcher
from inference.vision.match_answer import fits_none, format_answer

T = TypeVar("T")


@dataclass(frozen=True)
class _MatchRequest:
    """`is_paired`: each of its images is matched with each of its texts."""

    images: list[ImageInput]
    texts: list[str]
    is_paired: bool = True


class MatchEngine(SinglePassEngine[_MatchRequest]):
    options = ("texts",)

    def _load(self, folder: Path, device: str) -> Mapping[str, Any]:
        self._blip, self._processor = load_matcher(self._model, folder, device)
        self._matcher = ImageTextMatcher(self._blip, self._processor.tokenizer)
        dtype = self._blip.vision_model.dtype  # its other parts may be kept in float32
        self._image_encoder = ImageEncoder(
            self._matcher.encode_images,
            self._processor.image_processor,
            self._revision,
            FeatureCache(self._model.image_cache_mb * 2**20),
            self._blip.device,
            dtype,
        )
        return {"dtype": dtype_name(dtype), "attention": self._blip.config._attn_implementation}

    def _unload(self) -> None:
        del self._blip, self._processor, self._matcher, self._image_encoder

    def _clear_caches(self) -> None:
        self._image_encoder.cache.clear()

    def _use_less_memory(self) -> str | None:
        offloader = offloader_of(self._blip)
        return offloader.use_less_memory() if offloader is not None else None

    def _needs_image(self, task: Task) -> bool:
        return task.command != EMBED

    def _prepare_input(self, task: Task) -> _MatchRequest:
        images = [self._image_encoder.preprocess(image.media) for image in task.images]
        if task.command == EMBED:
            return _MatchRequest(images, [] if images else [str(task.options["text"])], is_paired=False)
        if task.command == RANK:
            return _MatchRequest(images, [str(task.options["text"])])
        return _MatchRequest(images[:1], split_texts(str(task.options["texts"])))

    # ------------------------------------------------------------ embeddings

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Media]) -> torch.Tensor:
        """Contrastive embeddings, (images, queries, width of the shared space), each of length 1, on the CPU.

        `itm.similarity` compares them with those of texts.
        """
        features = self._image_encoder.encode([self._image_encoder.preprocess(image) for image in images])
        return torch.stack([embeds for _, embeds in features]).float().cpu()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Contrastive embeddings, (texts, width of the shared space), each of length 1, on the CPU."""
        return self._matcher.embed_texts(texts).float().cpu()

    # ------------------------------------------------------------ one step

    def _run_pass(self, tasks: Sequence[Task], inputs: Sequence[_MatchRequest]) -> list[PassOutput]:
        """Answer each request; all images, all texts and all pairs of all requests share a pass each."""
        features = _split(
            self._encode([image for one in inputs for image in one.images]), [len(one.images) for one in inputs]
        )
        embeds = _split(self._embed([text for one in inputs for text in one.texts]), [len(one.texts) for one in inputs])
        logits = self._match(inputs, features)
        results = map(self._result_of, tasks, inputs, features, embeds, logits)
        return [PassOutput(result=result) for result in results]

    def _encode(self, images: Sequence[ImageInput]) -> list[Features]:
        """Features of each image; after running out of memory one image at a time."""
        size = self.images_per_pass if self._pass_size > 1 else 1
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        return [features for chunk in chunks for features in self._image_encoder.encode(chunk)]

    def _embed(self, texts: Sequence[str]) -> list[torch.Tensor]:
        return list(self._matcher.embed_texts(texts)) if texts else []

    def _match(self, inputs: Sequence[_MatchRequest], features: Sequence[Sequence[Features]]) -> list[Sequence[float]]:
        """The matching logits of each request's pairs: all texts of its first image, then of the next."""
        pairs = [
            list(product(images, one.texts)) if one.is_paired else []
            for one, images in zip(inputs, features, strict=True)
        ]
        flat = [pair for of_request in pairs for pair in of_request]
        if not flat:
            return [[] for _ in inputs]
        patches = torch.stack([image[0] for image, _ in flat])
        logits = self._matcher.match_logits(patches, [text for _, text in flat])
        return _split(logits.tolist(), [len(of_request) for of_request in pairs])

    def _result_of(
        self,
        task: Task,
        request: _MatchRequest,
        features: Sequence[Features],
        text_embeds: Sequence[torch.Tensor],
        logits: Sequence[float],
    ) -> TaskResult:
        """`features`: of its images; `text_embeds`: of its texts; `logits`: of its pairs."""
        if task.command == EMBED:
            is_known = bool(features) or knows_words(self._processor.tokenizer, request.texts[0])
            vectors = [image[1] for image in features] or [text[None] for text in text_embeds if is_known]
            return TaskResult(embeddings=tuple(map(self._to_embedding, vectors)), revision=self._revision)
        nearness = similarity(torch.stack([image[1] for image in features]), torch.stack(list(text_embeds)))
        if task.command == RANK:
            matches = map(MatchScore, logits, nearness[:, 0].tolist())
            return TaskResult(matches=tuple(matches), revision=self._revision)
        return self._answer(request.texts, torch.tensor(logits).sigmoid().tolist(), nearness[0].tolist())

    def _to_embedding(self, vectors: torch.Tensor) -> Embedding:
        """Of vectors of one image or text, (vectors, width of the shared space)."""
        half = normalize(vectors.float(), dim=-1).half().cpu()
        return Embedding(
            model=self._model.name,
            revision=self._revision,
            count=len(half),
            width=half.shape[1],
            vectors=half.numpy().astype("<f2").tobytes(),
        )

    def _answer(self, texts: Sequence[str], scores: list[float], similarities: list[float]) -> TaskResult:
        is_calibrated = not self._model.demo
        notes = question_notes(self._processor.tokenizer, " ".join(texts), is_demo=self._model.demo)
        if len(texts) > 1 and fits_none(scores, is_calibrated=is_calibrated):
            notes += (NO_TEXT_FITS,)
        text = format_answer(texts, scores, similarities, is_calibrated=is_calibrated)
        return TaskResult(text=text, notes=notes, revision=self._revision)


def _split(items: Sequence[T], counts: Sequence[int]) -> list[Sequence[T]]:
    """The first `counts[0]` items, then the next `counts[1]`, ..."""
    rest = iter(items)
    return [list(islice(rest, count)) for count in counts]
