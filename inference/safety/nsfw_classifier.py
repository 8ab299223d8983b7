"""The classifier of adult content: any image classifier of the Hub with suitable labels.

It runs on the CPU, where it needs a fraction of a second and no device memory.
"""

from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import model_path, require_safetensors
from inference.safety.dense_head import MobileNetV2WithDenseHead, has_dense_head

ADULT_LABELS = frozenset({"nsfw", "porn", "hentai", "sexy", "explicit", "unsafe"})
SAFE_LABELS = frozenset({"normal", "sfw", "safe", "neutral", "drawing", "drawings"})


class NsfwClassifier:
    """Implements `inference.safety.checker.ImageScorer`. Creating it scores one test image.

    Raises: ModelUnavailable: its files, labels or scores are not usable; errors of Transformers.
    """

    def __init__(self, classifier: ModelSpec) -> None:
        folder = model_path(classifier)
        require_safetensors(classifier, folder)
        options = {"local_files_only": True, "trust_remote_code": False}
        self._processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
        kind: Any = MobileNetV2WithDenseHead if has_dense_head(folder) else AutoModelForImageClassification
        self._model = kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **options).eval()
        self._adult_indices = _adult_label_indices(classifier, self._model.config.id2label)
        score = self(Image.new("RGB", (64, 64), "gray"))
        if not 0 <= score <= 1:
            raise ModelUnavailable(classifier.name, f"its score of a grey image is {score}")

    def __call__(self, image: Image.Image) -> float:
        inputs = self._processor(images=image, return_tensors="pt")
        with torch.inference_mode():
            probabilities = self._model(**inputs).logits[0].float().softmax(-1)
        if not probabilities.isfinite().all():
            return float("nan")
        return min(1.0, probabilities[self._adult_indices].sum().item())


def _adult_label_indices(classifier: ModelSpec, labels: dict[int, str]) -> list[int]:
    """Indices of the labels for sexual images. Raises: ModelUnavailable: a label is unknown, or all are of one kind."""
    names = {index: label.casefold().strip() for index, label in labels.items()}
    adult = [index for index, name in names.items() if name in ADULT_LABELS]
    if not adult or len(adult) == len(names) or not set(names.values()) <= ADULT_LABELS | SAFE_LABELS:
        raise ModelUnavailable(classifier.name, f"its labels are {', '.join(map(str, labels.values()))}")
    return adult
