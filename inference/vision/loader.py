"""Loads a BLIP-2 from a folder, and mends what repositories of its first years lack.

As published, `Salesforce/blip2-opt-2.7b-coco` has no processor config and no `image_token_index`; today's library then
fails, or answers from the words alone. Nothing here is fetched, and nothing but safetensors is read.
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
from transformers.utils import logging as transformers_logging

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import require_safetensors
from inference.memory.offload import Placement
from inference.memory.planner import Choice, choose
from inference.memory.precision import dtype_for, dtype_on_cpu
from inference.memory.quantization import shrink_seats

IMAGE = "<image>"
ATTENTION = "sdpa"
"""PyTorch's own, which takes flash attention where the device has it. Architectures that lack it attend eagerly."""
_LOOSE = ("rotary", "position_ids", "lm_head.weight", "embed_tokens.weight", "shared.weight")
"""Weights that a file may lack: they are made anew, or are others under a second name."""


def load_blip(model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any]:
    """The model on the device, ready to answer, and its processor.

    Where its parts are, `inference.memory.offload.placement_of` tells. Raises: ModelUnavailable, OutOfMemory.
    """
    blip, processor, choice = _load(Blip2ForConditionalGeneration, model, folder, device)
    join_image_and_text(model, blip, processor)
    _place(blip, choice, device)
    require_sight(model, blip, processor)
    return blip, processor


def load_matcher(model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any]:
    """The same for a model that matches."""
    blip, processor, choice = _load(Blip2ForImageTextRetrieval, model, folder, device)
    _place(blip, choice, device)
    return blip, processor


def _place(blip: Any, choice: Choice, device: str) -> None:
    blip.eval()
    parts = dict(blip.named_children())
    shrink_seats(parts, choice.plan)
    blip.placement = Placement(blip, parts, choice, device)


def _load(kind: Any, model: ModelSpec, folder: Path, device: str) -> tuple[Any, Any, Choice]:
    """The model in main memory, its processor, and where its parts go."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    require_safetensors(model, folder)
    dtype = dtype_for(model, device)
    choice = choose(model, folder, dtype, device)
    dtype = dtype_on_cpu(choice.plan, dtype)
    config = Blip2Config.from_pretrained(folder, local_files_only=True)
    processor = _processor(folder, config)
    settings: dict[str, Any] = {"config": config, "dtype": dtype, "use_safetensors": True, "local_files_only": True}
    try:
        blip, info = kind.from_pretrained(folder, attn_implementation=ATTENTION, output_loading_info=True, **settings)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        blip, info = kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True, **settings)
    _require_whole(model, info)
    return blip, processor, choice


def _processor(folder: Path, config: Blip2Config) -> Any:
    """The repo's own, or one made of its parts."""
    if (folder / "processor_config.json").exists():
        return AutoProcessor.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)
    side = int(config.vision_config.image_size)
    if (folder / "preprocessor_config.json").exists():
        images = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
    else:
        images = BlipImageProcessorPil(size={"height": side, "width": side})
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return Blip2Processor(images, tokenizer, num_query_tokens=config.num_query_tokens)


def _require_whole(model: ModelSpec, info: Any) -> None:
    """Raises: ModelUnavailable: weights are missing, and would be made up."""
    missing = sorted(str(key) for key in info.get("missing_keys", ()))
    missing = [key for key in missing if not key.endswith(_LOOSE)]
    if missing:
        few = ", ".join(missing[:3])
        raise ModelUnavailable(model.name, f"its files lack {len(missing)} of its weights, such as {few}")


def join_image_and_text(model: ModelSpec, blip: Any, processor: Any) -> None:
    """Give both sides the same token for the picture, and the number of those that a picture takes.

    The table of embeddings grows only when the token lies outside of it: OPT's has room (50,272 rows for 50,265 words),
    and so has T5's. The row is never read: the picture's features take its place.

    Raises: ModelUnavailable: the two sides say different things.
    """
    config, tokenizer = blip.config, processor.tokenizer
    if tokenizer.convert_tokens_to_ids(IMAGE) in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    token = tokenizer.convert_tokens_to_ids(IMAGE)
    processor.num_query_tokens = config.num_query_tokens
    if config.image_token_index is None:
        config.image_token_index = token
    if config.image_token_index != token:
        detail = f"its image token is {config.image_token_index}, its tokenizer's {token}"
        raise ModelUnavailable(model.name, detail)
    rows = blip.get_input_embeddings().weight.shape[0]
    if token >= rows:
        blip.resize_token_embeddings(token + 1)


@torch.inference_mode()
def require_sight(model: ModelSpec, blip: Any, processor: Any) -> None:
    """Raises: ModelUnavailable: two different pictures give the very same scores, so it does not look at them."""
    first, second = (_first_scores(blip, processor, picture) for picture in _two_pictures())
    if torch.equal(first, second):
        raise ModelUnavailable(model.name, "two different pictures give the same answer: it does not see them")


def _two_pictures() -> tuple[Image.Image, Image.Image]:
    one = Image.new("RGB", (64, 64), "red")
    other = Image.new("RGB", (64, 64), "white")
    other.paste("blue", (0, 0, 32, 64))
    return one, other


def _first_scores(blip: Any, processor: Any, picture: Image.Image) -> torch.Tensor:
    """Of the first word after "a picture of", (words,)."""
    inputs = processor(images=picture, text="a picture of", return_tensors="pt").to(blip.device, blip.dtype)
    if blip.language_model.config.is_encoder_decoder:
        start = blip.language_model.config.decoder_start_token_id
        inputs["decoder_input_ids"] = torch.tensor([[start]], device=blip.device)
    scores: torch.Tensor = blip(**inputs).logits[0, -1].float()
    return scores
