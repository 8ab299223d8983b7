"""Finds the people in images by RT-DETR, so that each gets a pose of their own."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import model_path
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_module
from inference.pose.heatmaps import Box

MAX_PEOPLE = 12
"""In one image: the most certain ones."""
_PERSON = "person"
_MIN_SCORE = 0.4


class PersonDetector:
    def __init__(self, model: ModelSpec, device: str) -> None:
        """Raises: ModelUnavailable, OutOfMemory."""
        own = replace(model, repo=model.detector, file="", revision="", variant="", components_mb={})
        folder = model_path(own)
        self._processor = RTDetrImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._network = load_module(RTDetrForObjectDetection, own, folder, device)
        labels = self._network.config.id2label
        self._label = next((number for number, name in labels.items() if str(name).casefold() == _PERSON), None)
        if self._label is None:
            raise ModelUnavailable(model.name, f"its detector {model.detector} does not know people")

    def find_people(self, images: Sequence[Image.Image]) -> list[list[Box]]:
        """The boxes of the people in each image, in one pass, the most certain first."""
        inputs = self._processor(images=list(images), return_tensors="pt")
        offloader = offloader_of(self._network)
        assert offloader is not None
        outputs = self._network(pixel_values=inputs["pixel_values"].to(offloader.device, self._network.dtype))
        outputs.logits, outputs.pred_boxes = outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu()
        sizes = torch.tensor([[image.height, image.width] for image in images])
        found = self._processor.post_process_object_detection(outputs, threshold=_MIN_SCORE, target_sizes=sizes)
        return [self._boxes_of(one) for one in found]

    def use_less_memory(self) -> str | None:
        offloader = offloader_of(self._network)
        return offloader.use_less_memory() if offloader is not None else None

    def _boxes_of(self, found: dict[str, torch.Tensor]) -> list[Box]:
        is_person = found["labels"] == self._label
        order = found["scores"][is_person].argsort(descending=True)[:MAX_PEOPLE]
        corners = found["boxes"][is_person][order].tolist()
        return [Box(left, top, right - left, bottom - top) for left, top, right, bottom in corners]
