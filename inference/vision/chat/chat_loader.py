"""Loads a vision-language model that chats, and its processor, by the family that its config names.

Nothing is downloaded, only safetensors are read, and no code that comes with a model runs.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoProcessor, GenerationConfig

from bot.errors import ModelUnavailable
from bot.model_install.model_headers import DamagedModelFile, read_json_object
from bot.models import ModelSpec
from inference.checkpoints.chat_families import FAMILIES, ChatFamily
from inference.checkpoints.file_filter import CONFIG
from inference.checkpoints.pil_processors import build_processor
from inference.memory.offload import offloader_of
from inference.memory.transformers_loader import load_in_main_memory, place_module
from inference.vision.chat.chat_inputs import ChatInputs
from inference.vision.chat.chat_language_model import ChatLanguageModel
from inference.vision.chat.conversation import IMAGE
from inference.vision.loader import probe_images

NEEDS_TORCHVISION = "it needs torchvision, in the version that pairs with your torch: docs/models.md, Models that chat"
_WRAPPER = "model"
"""What the families call the module that holds the vision encoder and the language model."""
_HEAD = "lm_head"


def load_chat_model(model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any]:
    """The model on the device and its processor.

    `inference.memory.offload.offloader_of` returns where its components are. Raises: ModelUnavailable, OutOfMemory.
    """
    family = _family_of(model, folder)
    processor = _load_processor(model, family, folder)
    module, plan = load_in_main_memory(getattr(transformers, family.model), model, folder, device)
    module.generation_config = _plain_generation(module, processor.tokenizer)
    place_module(module, plan, device, chat_components(module))
    _require_image_input(model, module, processor)
    return module, processor


def chat_components(module: Any) -> dict[str, torch.nn.Module]:
    """Its parts by their names in its files. The embeddings and the output layer, which are called beside the language
    model and may share their weights, are parts of their own that follow its placement."""
    inner = dict(getattr(module, _WRAPPER, module).named_children())
    outer = {name: part for name, part in module.named_children() if name != _WRAPPER}
    language = next((name for name in inner if name in ("language_model", "text_model")), "")
    if not language:
        return {**inner, **outer}
    named = inner[language].named_modules()
    beside = {f"{language}.{name}": part for name, part in named if isinstance(part, torch.nn.Embedding)}
    if _HEAD in outer:
        beside[f"{language}.{_HEAD}"] = outer.pop(_HEAD)
    return {**inner, **outer, **beside}


def inputs_for(module: Any, processor: Any) -> ChatInputs:
    """Builds inputs where and in what the model computes."""
    context = getattr(module.config.get_text_config(decoder=True), "max_position_embeddings", None)
    offloader = offloader_of(module)
    device = module.device if offloader is None else offloader.device
    return ChatInputs(processor, context, device, module.dtype)


def _family_of(model: ModelSpec, folder: Path) -> ChatFamily:
    try:
        config = read_json_object(folder / CONFIG)
    except (OSError, DamagedModelFile) as error:
        raise ModelUnavailable(model.name, f"its {CONFIG} cannot be read") from error
    if config.get("quantization_config"):
        detail = "its weights are quantized in its files; use the repository without, and quantize in its table"
        raise ModelUnavailable(model.name, detail)
    kind = str(config.get("model_type", ""))
    if kind not in FAMILIES:
        known = ", ".join(family.title for family in FAMILIES.values())
        raise ModelUnavailable(model.name, f"it is of the family {kind or 'unknown'}; supported are {known}")
    return FAMILIES[kind]


def _load_processor(model: ModelSpec, family: ChatFamily, folder: Path) -> Any:
    if not family.image_processor and find_spec("torchvision") is None:
        raise ModelUnavailable(model.name, NEEDS_TORCHVISION)
    try:
        processor = (
            build_processor(family.processor, family.image_processor, folder)
            if family.image_processor
            else AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        detail = f"its processor cannot be built ({type(error).__name__})"
        raise ModelUnavailable(model.name, detail) from error
    if not processor.chat_template:
        raise ModelUnavailable(
            model.name, "it has no chat template: it is a base model, which does not answer questions"
        )
    return processor


def _plain_generation(module: Any, tokenizer: Any) -> GenerationConfig:
    """The model's own settings that every text needs; how a text is sampled is for the request to say."""
    own = module.generation_config
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    known = sorted({token for token in (*ends, tokenizer.eos_token_id) if token is not None})
    pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
    return GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=known or None,
        pad_token_id=pad if pad is not None or not known else known[0],
        top_k=own.top_k,
        max_new_tokens=1,
    )


@torch.inference_mode()
def _require_image_input(model: ModelSpec, module: Any, processor: Any) -> None:
    """Raises: ModelUnavailable: two different images give identical logits, so the image input is ignored."""
    inputs = inputs_for(module, processor)
    language_model = ChatLanguageModel(module)
    messages = [{"role": "user", "content": [dict(IMAGE), {"type": "text", "text": "What is this?"}]}]
    first, second = (language_model.last_logits(inputs.build(messages, [image], 1).inputs) for image in probe_images())
    if torch.equal(first, second):
        raise ModelUnavailable(model.name, "two different images give the same output: it ignores its image input")
