"""The classifier that tells sexual pictures from others: any image classifier of the Hub whose labels say so.

It runs on the CPU, where it takes a fraction of a second and none of the device's memory.
"""

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import folder_of, require_safetensors

ADULT = frozenset({"nsfw", "porn", "hentai", "sexy", "explicit", "unsafe"})
HARMLESS = frozenset({"normal", "sfw", "safe", "neutral", "drawing", "drawings"})


class NsfwClassifier:
    """`inference.safety.checker.Scores`. Loading it tries it once.

    Raises: ModelUnavailable: its files, its labels or its scores are not what they should be; what Transformers raises.
    """

    def __init__(self, classifier: ModelSpec) -> None:
        folder = folder_of(classifier)
        require_safetensors(classifier, folder)
        local = {"local_files_only": True, "trust_remote_code": False}
        self._processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **local)
        self._model = AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **local
        ).eval()
        self._adult = _adult_columns(classifier, self._model.config.id2label)
        score = self(Image.new("RGB", (64, 64), "gray"))
        if not 0 <= score <= 1:
            raise ModelUnavailable(classifier.name, f"it gives {score} for a grey picture")

    def __call__(self, image: Image.Image) -> float:
        inputs = self._processor(images=image, return_tensors="pt")
        with torch.inference_mode():
            chances = self._model(**inputs).logits[0].float().softmax(-1)
        return min(1.0, chances[self._adult].sum().item()) if chances.isfinite().all() else float("nan")


def _adult_columns(classifier: ModelSpec, labels: dict[int, str]) -> list[int]:
    """Which of the model's labels mean a sexual picture. Raises: ModelUnavailable, when some label is unknown."""
    plain = {index: label.casefold().strip() for index, label in labels.items()}
    adult = [index for index, label in plain.items() if label in ADULT]
    if not adult or len(adult) == len(plain) or not set(plain.values()) <= ADULT | HARMLESS:
        raise ModelUnavailable(classifier.name, f"its labels are {', '.join(map(str, labels.values()))}")
    return adult
