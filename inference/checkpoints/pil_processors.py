"""Builds Transformers' processors without torchvision.

Many are made for images and videos, and their video processors need torchvision; images need only Pillow. Such a
processor is built from its Pillow image processor, its tokenizer and its chat template, and takes no videos.
"""

from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer


def build_processor(class_name: str, image_class_name: str, folder: Path) -> Any:
    """The processor of this class with the settings in the folder. `image_class_name`: a class of Transformers that
    ends in "Pil"."""
    kind = _with_parts_missing(getattr(transformers, class_name))
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    parts = {
        "image_processor": getattr(transformers, image_class_name).from_pretrained(folder, local_files_only=True),
        "tokenizer": AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
    }
    template = settings.get("chat_template") or parts["tokenizer"].chat_template
    arguments = [parts.get(name) for name in kind.get_attributes()]
    return kind.from_args_and_dict(arguments, {**settings, "chat_template": template})


@cache
def _with_parts_missing(kind: Any) -> Any:
    """The class, with None for what it has beside the image processor and the tokenizer."""

    def check_argument(processor: Any, name: str, argument: Any) -> Any:
        return None if argument is None else kind.check_argument_for_proper_class(processor, name, argument)

    return type(
        kind.__name__, (kind,), {"__module__": kind.__module__, "check_argument_for_proper_class": check_argument}
    )
