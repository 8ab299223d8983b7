"""SAM 3 with a light text encoder: all instances of a phrase in one pass."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoTokenizer, Sam3LiteTextModel
from transformers.models.sam3_lite_text.modeling_sam3_lite_text import Sam3LiteTextVisionEncoderOutput

from bot.jobs import Media
from bot.models import ModelSpec
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_module
from inference.segmentation.placement import on_device
from inference.segmentation.sam_image import SamImageProcessor
from inference.vision.feature_cache import FeatureCache, Features
from inference.vision.image_encoder import ImageEncoder, ImageInput

INSTANCE_THRESHOLD = 0.5
_HALF = (0.5, 0.5, 0.5)


class ConceptSegmenter:
    knows_ground = False
    subject = "object"
    edge_px = 1

    def __init__(self, model: ModelSpec, folder: Path, revision: str, device: str) -> None:
        self._model = load_module(Sam3LiteTextModel, model, folder, device)
        self._components = [name for name, _ in self._model.named_children()]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.dtype: torch.dtype = self._model.dtype
        self._encoder = ImageEncoder(
            self._encode_images,
            SamImageProcessor.from_folder(folder, int(self._model.config.image_size), _HALF, _HALF),
            revision,
            FeatureCache(model.image_cache_mb * 2**20),
            self._model.device,
            self.dtype,
        )

    def prepare_image(self, media: Media, image: Image.Image) -> ImageInput:
        return self._encoder.preprocess(media)

    def find_masks(self, images: Sequence[ImageInput], phrases: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        features = self._encoder.encode(images)
        return [self._find_instances(each, texts) for each, texts in zip(features, phrases, strict=True)]

    def clear_cache(self) -> None:
        self._encoder.cache.clear()

    def use_less_memory(self) -> str | None:
        offloader = offloader_of(self._model)
        return offloader.use_less_memory() if offloader is not None else None

    def _encode_images(self, pixels: torch.Tensor) -> Features:
        """The feature maps, from the finest to the coarsest, then their position encodings."""
        with on_device(self._model, *self._components):
            outputs = self._model.get_vision_features(pixels)
        positions = (one.expand(len(pixels), -1, -1, -1) for one in outputs.fpn_position_encoding)
        return (*outputs.fpn_hidden_states, *positions)

    def _find_instances(self, features: Features, phrases: Sequence[str]) -> torch.Tensor:
        """The union of each phrase's instances, (phrases, height, width). All phrases of an image share a pass."""
        maps = [one.expand(len(phrases), -1, -1, -1) for one in features]
        levels = len(maps) // 2
        vision = Sam3LiteTextVisionEncoderOutput(
            fpn_hidden_states=tuple(maps[:levels]), fpn_position_encoding=tuple(maps[levels:])
        )
        length = int(self._model.config.text_config.max_position_embeddings)
        inputs = self.tokenizer(
            list(phrases), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self._model.device)
        with on_device(self._model, *self._components):
            outputs = self._model(
                vision_embeds=vision, input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )
        scores = outputs.pred_logits.float().sigmoid()
        if outputs.presence_logits is not None:
            scores = scores * outputs.presence_logits.float().sigmoid()
        is_instance = (scores > INSTANCE_THRESHOLD)[..., None, None]
        union: torch.Tensor = (outputs.pred_masks.float().sigmoid() * is_instance).amax(dim=1)
        return union.cpu()
