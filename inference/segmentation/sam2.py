"""SAM 2 with the boxes of a detector: precise masks of what the detector finds by words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from transformers import Sam2Model

from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import ModelSpec
from inference.checkpoints.resolve import model_path
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_module
from inference.segmentation.grounding_dino import BoxDetector, DetectorInput
from inference.segmentation.placement import on_device
from inference.segmentation.sam_image import IMAGENET_MEAN, IMAGENET_STD, SamImageProcessor
from inference.vision.feature_cache import FeatureCache, Features
from inference.vision.image_encoder import ImageEncoder, ImageInput


@dataclass(frozen=True)
class SamInput:
    image: ImageInput
    detector_input: DetectorInput


class SamSegmenter:
    knows_ground = False
    subject = "object"
    edge_px = 1

    def __init__(self, model: ModelSpec, folder: Path, revision: str, device: str) -> None:
        if not model.detector:
            raise ModelUnavailable(model.name, "SAM 2 needs `detector`, a model that finds boxes by words")
        detector = replace(model, repo=model.detector, file="", revision="", variant="", components_mb={})
        self._detector = BoxDetector(detector, model_path(detector), device)
        self._model = load_module(Sam2Model, model, folder, device)
        self._processor = SamImageProcessor.from_folder(
            folder, int(self._model.config.prompt_encoder_config.image_size), IMAGENET_MEAN, IMAGENET_STD
        )
        self.tokenizer = self._detector.tokenizer
        self.dtype: torch.dtype = self._model.dtype
        self._encoder = ImageEncoder(
            self._encode_images,
            self._processor,
            revision,
            FeatureCache(model.image_cache_mb * 2**20),
            self._model.device,
            self.dtype,
        )

    def prepare_image(self, media: Media, image: Image.Image) -> SamInput:
        return SamInput(self._encoder.preprocess(media), self._detector.prepare_image(image))

    def find_masks(self, images: Sequence[SamInput], phrases: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        features = self._encoder.encode([one.image for one in images])
        found = [self._detector.find_boxes(one.detector_input, each) for one, each in zip(images, phrases, strict=True)]
        return [self._fill_boxes(each, boxes) for each, boxes in zip(features, found, strict=True)]

    def clear_cache(self) -> None:
        self._encoder.cache.clear()

    def use_less_memory(self) -> str | None:
        offloader = offloader_of(self._model)
        level = offloader.use_less_memory() if offloader is not None else None
        return level or self._detector.use_less_memory()

    def _encode_images(self, pixels: torch.Tensor) -> Features:
        """Feature maps, from the finest to the coarsest, each (images, channels, height, width)."""
        with on_device(self._model, "vision_encoder", "mask_decoder"):
            return tuple(self._model.get_image_embeddings(pixels))

    def _fill_boxes(self, features: Features, by_phrase: Sequence[torch.Tensor]) -> torch.Tensor:
        """The union of the masks in each phrase's boxes, (phrases, height, width)."""
        counts, boxes = [len(boxes) for boxes in by_phrase], torch.cat(list(by_phrase))
        side = 4 * features[-1].shape[-1]
        if not len(boxes):
            return torch.zeros(len(counts), side, side)
        scaled = self._processor.scale_boxes(boxes)[None].to(self._model.device, self.dtype)
        with on_device(self._model, "shared_image_embedding", "prompt_encoder", "mask_decoder"):
            masks = self._model(
                image_embeddings=[one[None] for one in features], input_boxes=scaled, multimask_output=False
            ).pred_masks
        probabilities = masks[0, :, 0].float().sigmoid().cpu()
        empty = torch.zeros(probabilities.shape[1:])
        return torch.stack([one.amax(dim=0) if len(one) else empty for one in probabilities.split(counts)])
