"""GroundingDINO: boxes around what phrases name. Alone, its masks are the boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, GroundingDinoForObjectDetection

from bot.jobs import Media
from bot.models import ModelSpec
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_module
from inference.segmentation.placement import on_device

BOX_THRESHOLD = 0.3
"""Source: Transformers' documentation of GroundingDINO; its processor's default is 0.25."""
_MASK_SIDE = 256


@dataclass(frozen=True)
class DetectorInput:
    pixels: torch.Tensor
    pixel_mask: torch.Tensor


class BoxDetector:
    """Boxes are (left, top, right, bottom) as shares of the image's width and height."""

    def __init__(self, model: ModelSpec, folder: Path, device: str) -> None:
        self._processor = AutoProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        self._model = load_module(GroundingDinoForObjectDetection, model, folder, device)
        self._components = [name for name, _ in self._model.named_children()]
        self.tokenizer = self._processor.tokenizer
        self.dtype: torch.dtype = self._model.dtype

    def prepare_image(self, image: Image.Image) -> DetectorInput:
        inputs = self._processor.image_processor(images=image, return_tensors="pt")
        return DetectorInput(inputs["pixel_values"], inputs["pixel_mask"])

    def find_boxes(self, image: DetectorInput, phrases: Sequence[str]) -> list[torch.Tensor]:
        """For each phrase its boxes, (boxes, 4), float32 on the CPU. All phrases share one pass."""
        ids, spans = self._tokenize(phrases)
        with on_device(self._model, *self._components):
            outputs = self._model(
                pixel_values=image.pixels.to(self._model.device, self.dtype),
                pixel_mask=image.pixel_mask.to(self._model.device),
                input_ids=ids,
                token_type_ids=torch.zeros_like(ids),
                attention_mask=torch.ones_like(ids),
            )
        scores, boxes = outputs.logits[0].float().sigmoid().cpu(), _to_corners(outputs.pred_boxes[0].float().cpu())
        return [boxes[scores[:, start:end].amax(dim=1) > BOX_THRESHOLD] for start, end in spans]

    def use_less_memory(self) -> str | None:
        offloader = offloader_of(self._model)
        return offloader.use_less_memory() if offloader is not None else None

    def _tokenize(self, phrases: Sequence[str]) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        """Ids of "a hat. a shoe.", (1, tokens), and each phrase's first token and the one after its last."""
        tokenizer, limit = self.tokenizer, int(self._model.config.max_position_embeddings)
        dot = tokenizer(".", add_special_tokens=False).input_ids
        ids, spans = [tokenizer.cls_token_id], []
        for phrase in phrases:
            words = tokenizer(phrase.lower().replace(".", " "), add_special_tokens=False).input_ids
            words = words[: max(0, (limit - 2) // len(phrases) - len(dot))]
            spans.append((len(ids), len(ids) + max(1, len(words))))
            ids += words + dot
        return torch.tensor([[*ids, tokenizer.sep_token_id]], device=self._model.device), spans


class BoxSegmenter:
    knows_ground = False
    subject = "object"
    edge_px = 1

    def __init__(self, model: ModelSpec, folder: Path, revision: str, device: str) -> None:
        self._detector = BoxDetector(model, folder, device)
        self.tokenizer, self.dtype = self._detector.tokenizer, self._detector.dtype
        self.use_less_memory = self._detector.use_less_memory

    def prepare_image(self, media: Media, image: Image.Image) -> DetectorInput:
        return self._detector.prepare_image(image)

    def find_masks(self, images: Sequence[DetectorInput], phrases: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        return [
            torch.stack([_fill_boxes(boxes) for boxes in self._detector.find_boxes(image, each)])
            for image, each in zip(images, phrases, strict=True)
        ]

    def clear_cache(self) -> None:
        """Its features depend on the words, so none are kept."""


def _to_corners(boxes: torch.Tensor) -> torch.Tensor:
    """From (centre x, centre y, width, height)."""
    centres, sizes = boxes[:, :2], boxes[:, 2:]
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1).clamp(0, 1)


def _fill_boxes(boxes: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(_MASK_SIDE, _MASK_SIDE)
    for left, top, right, bottom in (boxes * _MASK_SIDE).round().int().tolist():
        mask[top:bottom, left:right] = 1
    return mask
