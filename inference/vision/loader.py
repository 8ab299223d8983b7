"""Loads a BLIP-2 from a folder, and repairs repositories in its original layout.

As published, `Salesforce/blip2-opt-2.7b-coco` has no processor config and no `image_token_index`; the current library
then fails, or answers from the text alone. Nothing is downloaded, and only safetensors are read.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    BlipImageProcessorPil,
)

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import require_safetensors
from inference.memory.planner import MemoryPlan
from inference.memory.transformers_loader import load_in_main_memory, place_module

IMAGE_TOKEN = "<image>"


def load_blip(model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any]:
    """The captioning model on the device and its processor.

    `inference.memory.offload.offloader_of` returns where its components are. Raises: ModelUnavailable, OutOfMemory.
    """
    blip, processor, plan = _load_model(Blip2ForConditionalGeneration, model, folder, device)
    align_image_token(model, blip, processor)
    place_module(blip, plan, device)
    require_image_input(model, blip, processor)
    return blip, processor


def load_matcher(model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any]:
    """The image-text matching model on the device and its processor. Raises: ModelUnavailable, OutOfMemory."""
    blip, processor, plan = _load_model(Blip2ForImageTextRetrieval, model, folder, device)
    place_module(blip, plan, device)
    return blip, processor


def _load_model(model_class: Any, model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any, MemoryPlan]:
    """The model in main memory, its processor, and its memory plan."""
    require_safetensors(model, folder)
    config = Blip2Config.from_pretrained(folder, local_files_only=True)
    processor = _load_processor(folder, config)
    blip, plan = load_in_main_memory(model_class, model, folder, device, config)
    return blip, processor, plan


def _load_processor(folder: Path, config: Blip2Config) -> Any:
    """The repository's processor, or one built from its image processor and tokenizer."""
    if (folder / "processor_config.json").exists():
        return AutoProcessor.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)
    side = int(config.vision_config.image_size)
    if (folder / "preprocessor_config.json").exists():
        image_processor = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
    else:
        image_processor = BlipImageProcessorPil(size={"height": side, "width": side})
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Blip2Processor(image_processor, tokenizer, num_query_tokens=config.num_query_tokens)


def align_image_token(model: ModelSpec, blip: Any, processor: Any) -> None:
    """Give config and tokenizer the same image token, and the processor the number of query tokens.

    The embedding table grows only if the token is outside it: OPT's has spare rows (50,272 for 50,265 tokens), as has
    T5's. The row is never used: image features replace it.

    Raises: ModelUnavailable: config and tokenizer disagree.
    """
    config, tokenizer = blip.config, processor.tokenizer
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    token = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    processor.num_query_tokens = config.num_query_tokens
    if config.image_token_index is None:
        config.image_token_index = token
    if config.image_token_index != token:
        detail = f"its image token is {config.image_token_index} in the config but {token} in the tokenizer"
        raise ModelUnavailable(model.name, detail)
    rows = blip.get_input_embeddings().weight.shape[0]
    if token >= rows:
        blip.resize_token_embeddings(token + 1)


@torch.inference_mode()
def require_image_input(model: ModelSpec, blip: Any, processor: Any) -> None:
    """Raises: ModelUnavailable: two different images give identical logits, so the image input is ignored."""
    first, second = (_first_token_logits(blip, processor, image) for image in probe_images())
    if torch.equal(first, second):
        raise ModelUnavailable(model.name, "two different images give the same output: it ignores its image input")


def probe_images() -> tuple[Image.Image, Image.Image]:
    one = Image.new("RGB", (64, 64), "red")
    other = Image.new("RGB", (64, 64), "white")
    other.paste("blue", (0, 0, 32, 64))
    return one, other


def _first_token_logits(blip: Any, processor: Any, image: Image.Image) -> torch.Tensor:
    """Of the first token after "a picture of", (vocabulary,)."""
    inputs = processor(images=image, text="a picture of", return_tensors="pt").to(blip.device, blip.vision_model.dtype)
    if blip.language_model.config.is_encoder_decoder:
        start = blip.language_model.config.decoder_start_token_id
        inputs["decoder_input_ids"] = torch.tensor([[start]], device=blip.device)
    logits: torch.Tensor = blip(**inputs).logits[0, -1].float()
    return logits
