"""CLIPSeg: a decoder on CLIP's features that answers a phrase with a mask."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, CLIPSegForImageSegmentation

from bot.jobs import Media
from bot.models import ModelSpec
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_module
from inference.segmentation.placement import on_device
from inference.vision.feature_cache import FeatureCache, Features
from inference.vision.image_encoder import ImageEncoder, ImageInput


class ClipSegmenter:
    knows_ground = True
    subject = "the subject"

    def __init__(self, model: ModelSpec, folder: Path, revision: str, device: str) -> None:
        processor = AutoProcessor.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)
        self._model = load_module(CLIPSegForImageSegmentation, model, folder, device)
        self.tokenizer = processor.tokenizer
        self.edge_px = int(self._model.config.vision_config.patch_size)
        self._encoder = ImageEncoder(
            self._encode_images,
            processor.image_processor,
            revision,
            FeatureCache(model.image_cache_mb * 2**20),
            self._model.device,
            self.dtype,
        )

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._model.decoder.dtype
        return dtype

    def prepare_image(self, media: Media, image: Image.Image) -> ImageInput:
        return self._encoder.preprocess(media)

    def find_masks(self, images: Sequence[ImageInput], phrases: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        counts = [len(each) for each in phrases]
        features = self._encoder.encode(images)
        activations = [
            torch.cat([one[layer].expand(count, -1, -1) for one, count in zip(features, counts, strict=True)])
            for layer in range(len(features[0]))
        ]
        texts = self._encode_texts([phrase for each in phrases for phrase in each])
        logits = self._model.decoder(activations, texts).logits.reshape(len(texts), *self._mask_size(activations))
        return list(logits.float().sigmoid().cpu().split(counts))

    def clear_cache(self) -> None:
        self._encoder.cache.clear()

    def use_less_memory(self) -> str | None:
        offloader = offloader_of(self._model)
        return offloader.use_less_memory() if offloader is not None else None

    def _mask_size(self, activations: Sequence[torch.Tensor]) -> tuple[int, int]:
        """Height and width: the decoder drops the first dimension of a single mask."""
        side = round((activations[0].shape[1] - 1) ** 0.5) * int(self._model.config.vision_config.patch_size)
        return side, side

    def _encode_images(self, pixels: torch.Tensor) -> Features:
        """The hidden states that the decoder reads, each (images, patches + 1, width)."""
        with on_device(self._model, "clip"):
            states = self._model.clip.vision_model(
                pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True
            ).hidden_states
        return tuple(states[layer + 1] for layer in self._model.extract_layers)

    def _encode_texts(self, phrases: Sequence[str]) -> torch.Tensor:
        """(phrases, width of the shared space); a phrase beyond the model's length is cut off."""
        positions = int(self._model.config.text_config.max_position_embeddings)
        max_length = min(positions, self.tokenizer.model_max_length)
        inputs = self.tokenizer(
            list(phrases), padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        ).to(self._model.device)
        with on_device(self._model, "clip"):
            features: torch.Tensor = self._model.clip.get_text_features(
                inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).pooler_output
        return features
