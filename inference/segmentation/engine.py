"""The engine of text-to-mask models: one mask for the words of a task, in one pass.

If it does not see some of the words in the image, its text names these, one a line; the mask is the union of all
others. A cutout is the image itself, transparent outside of the mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from bot.commands.cutout import Cutout
from bot.commands.region_words import split_regions
from bot.ports import Task
from inference.engine.single_pass import PassOutput, SinglePassEngine
from inference.engine.tokenizer_notes import question_notes
from inference.images.flatten import open_on_white
from inference.ipc.messages import RawImage, TaskResult
from inference.memory.precision import dtype_name
from inference.segmentation.cutouts import cut_out
from inference.segmentation.mask_refinement import refine_mask
from inference.segmentation.segmenter import Query, Segmenter, load_segmenter, query_for

THRESHOLD = 0.5
EMPTY_SHARE = 0.002
"""Share of the image whose probability must reach the model's `min_confidence`; a region with less is not there."""


@dataclass(frozen=True, kw_only=True)
class RegionRequest:
    image: Image.Image
    prepared: Any
    words: list[str]
    queries: list[Query]


class SegmentationEngine(SinglePassEngine[RegionRequest]):
    options = ("region",)
    _segmenter: Segmenter

    def _load(self, folder: Path, device: str) -> Mapping[str, Any]:
        self._segmenter = load_segmenter(self._model, folder, self._revision, device)
        return {"dtype": dtype_name(self._segmenter.dtype)}

    def _unload(self) -> None:
        del self._segmenter

    def _clear_caches(self) -> None:
        self._segmenter.clear_cache()

    def _use_less_memory(self) -> str | None:
        return self._segmenter.use_less_memory()

    def _prepare_input(self, task: Task) -> RegionRequest:
        media = task.images[0].media
        image = open_on_white(media.data)
        words = split_regions(str(task.options.get("region", ""))) or [""]
        return RegionRequest(
            image=image,
            prepared=self._segmenter.prepare_image(media, image),
            words=words,
            queries=[query_for(word, self._segmenter) for word in words],
        )

    def _run_pass(self, tasks: Sequence[Task], inputs: Sequence[RegionRequest]) -> list[PassOutput]:
        phrases = [[query.phrase for query in request.queries] for request in inputs]
        found = self._segmenter.find_masks([request.prepared for request in inputs], phrases)
        return [self._answer(*each) for each in zip(tasks, inputs, found, strict=True)]

    def _answer(self, task: Task, request: RegionRequest, masks: torch.Tensor) -> PassOutput:
        inverted = torch.tensor([query.is_inverted for query in request.queries])
        masks = torch.where(inverted[:, None, None], 1 - masks, masks)
        is_seen = (masks >= self._model.min_confidence).float().mean(dim=(1, 2)) >= EMPTY_SHARE
        missing = [word for word, is_found in zip(request.words, is_seen.tolist(), strict=True) if not is_found]
        union = masks[is_seen].amax(dim=0) if is_seen.any() else torch.zeros_like(masks[0])
        mask = refine_mask(union >= THRESHOLD, request.image, self._segmenter.edge_px)
        notes = question_notes(self._segmenter.tokenizer, " ".join(request.words), is_demo=self._model.demo)
        result = TaskResult(text="\n".join(missing) if missing else None, notes=notes, revision=self._revision)
        if task.command != Cutout.name:
            return PassOutput(result=result, images=(self._raw_image(mask.convert("RGB")),))
        cutout = cut_out(task.images[0].media.data, mask)
        return PassOutput(result=result, images=(self._raw_image(cutout),))

    def _raw_image(self, image: Image.Image) -> RawImage:
        """With the metadata of the task's image: a cutout of a photo is no generated image."""
        return RawImage(
            index=0,
            width=image.width,
            height=image.height,
            pixels=image.tobytes(),
            seed=0,
            revision=self._revision,
            is_generated=False,
        )
