"""The image-text matching engine: compares texts with an image, in one step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bot.commands.match import split_texts
from bot.error_texts import NO_TEXT_FITS
from bot.jobs import Media
from bot.ports import Task
from inference.engine.single_pass import PassOutput, SinglePassEngine
from inference.engine.tokenizer_notes import question_notes
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of
from inference.memory.precision import dtype_name
from inference.vision.feature_cache import FeatureCache
from inference.vision.image_encoder import ImageEncoder, ImageInput
from inference.vision.itm import ImageTextMatcher, similarity
from inference.vision.loader import load_matcher
from inference.vision.match_answer import fits_none, format_answer


@dataclass(frozen=True)
class _MatchRequest:
    image: ImageInput
    texts: list[str]


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

    def _prepare_input(self, task: Task) -> _MatchRequest:
        image = self._image_encoder.preprocess(task.images[0].media)
        return _MatchRequest(image, split_texts(str(task.options["texts"])))

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
        """Compare each request's texts; all pairs of all requests share one pass."""
        features = self._image_encoder.encode([request.image for request in inputs])
        counts = [len(request.texts) for request in inputs]
        texts = [text for request in inputs for text in request.texts]
        patches = [image[0].expand(count, -1, -1) for image, count in zip(features, counts, strict=True)]
        scores = self._matcher.match_scores(torch.cat(patches), texts).split(counts)
        text_embeds = self._matcher.embed_texts(texts).split(counts)
        results = (
            self._answer(request, score.tolist(), similarity(image[1][None], embeds)[0].tolist())
            for request, image, score, embeds in zip(inputs, features, scores, text_embeds, strict=True)
        )
        return [PassOutput(result=result) for result in results]

    def _answer(self, request: _MatchRequest, scores: list[float], similarities: list[float]) -> TaskResult:
        is_calibrated = not self._model.demo
        notes = question_notes(self._processor.tokenizer, " ".join(request.texts), is_demo=self._model.demo)
        if len(request.texts) > 1 and fits_none(scores, is_calibrated=is_calibrated):
            notes += (NO_TEXT_FITS,)
        text = format_answer(request.texts, scores, similarities, is_calibrated=is_calibrated)
        return TaskResult(text=text, notes=notes, revision=self._revision)
