"""An image classifier whose head has several dense layers, where Transformers' own has one."""

import itertools
import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import MobileNetV2ForImageClassification, PretrainedConfig

DENSE_HEAD = "head_sizes"
"""The key of a classifier's config that holds the widths of the hidden layers of its head."""


class MobileNetV2WithDenseHead(MobileNetV2ForImageClassification):
    """MobileNetV2 with the head that Keras' classifiers often have: dense layers with ReLU between them."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        head: Any = self._modules["classifier"]
        sizes = [head.in_features, *getattr(config, DENSE_HEAD), config.num_labels]
        layers: list[nn.Module] = []
        for width, following in itertools.pairwise(sizes):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.classifier = nn.Sequential(*layers[:-1])
        self.post_init()


def has_dense_head(folder: Path) -> bool:
    """Whether the config of the classifier in this folder asks for it."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("model_type") == "mobilenet_v2" and DENSE_HEAD in config
