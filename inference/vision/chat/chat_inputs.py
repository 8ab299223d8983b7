"""Builds the input of a chatting model from messages and images, with its own processor and chat template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from bot.errors import InvalidOption
from bot.jobs import Media
from inference.images.flatten import open_on_white
from inference.vision.chat.conversation import Message, spell_markers, without_oldest_turn
from inference.vision.chat.thinking import MARKERS

MAX_PROMPT_TOKENS = 16_384
"""Of all images and messages of a question; longer threads lose their oldest turns."""
MAX_IMAGE_PIXELS = 1024 * 1024
"""Larger images are scaled down: some families would spend 16,000 tokens on one."""
MAX_ASPECT = 16
"""Families that scale the shorter side up to a size of theirs need gigabytes for a line of pixels; others refuse it."""


@dataclass(frozen=True)
class ChatPrompt:
    """`inputs`: of the model's forward pass, for one row; `input_ids`: (1, tokens)."""

    inputs: Mapping[str, torch.Tensor]

    @cached_property
    def token_ids(self) -> list[int]:
        ids: list[int] = self.inputs["input_ids"][0].tolist()
        return ids


class ChatInputs:
    """Args:
    processor: the model's.
    context: how many tokens the model can hold; None: unknown.
    """

    def __init__(self, processor: Any, context: int | None, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        self._device = device
        self._dtype = dtype
        self._limit = min(MAX_PROMPT_TOKENS, context or MAX_PROMPT_TOKENS)
        vocabulary = processor.tokenizer.get_added_vocab()
        self._template = close_thought(processor)
        self._markers = sorted({*vocabulary, *processor.tokenizer.all_special_tokens}, key=len, reverse=True)

    def build(self, messages: Sequence[Message], images: Sequence[Image.Image], new_tokens: int) -> ChatPrompt:
        """With room for so many new tokens.

        Raises: InvalidOption: the question alone is too long, or its images take too many tokens.
        """
        limit = self._limit - new_tokens
        prompt = self._encode(messages, images)
        while len(prompt.token_ids) > limit and len(messages) > 2:
            messages = without_oldest_turn(messages)
            prompt = self._encode(messages, images)
        excess = len(prompt.token_ids) - limit
        if excess > 0:
            question = str(messages[-1]["content"][-1]["text"])
            tokens = len(self._processor.tokenizer(question, add_special_tokens=False).input_ids)
            if excess >= tokens:
                allowed = max(1, len(images) * limit // len(prompt.token_ids))
                raise InvalidOption("images", "too_many_images", value=len(images), allowed=str(allowed))
            characters = max(1, len(question) * (tokens - excess) // tokens)
            raise InvalidOption("question", "long", value=len(question), allowed=str(characters))
        return prompt

    def _encode(self, messages: Sequence[Message], images: Sequence[Image.Image]) -> ChatPrompt:
        shown = iter(images)
        filled = [
            {**message, "content": [_with_image(part, shown) for part in message["content"]]}
            for message in spell_markers(messages, self._markers)
        ]
        encoded = self._processor.apply_chat_template(
            filled,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            enable_thinking=False,
            chat_template=self._template,
        )
        return ChatPrompt(dict(encoded.to(self._device, self._dtype)))


def close_thought(processor: Any) -> str | None:
    """The chat template, with an end of the thought that it begins for the model; None: it begins none."""
    message = {"role": "user", "content": [{"type": "text", "text": "?"}]}
    prompt = processor.apply_chat_template(
        [message], add_generation_prompt=True, tokenize=False, enable_thinking=False
    ).rstrip()
    end = next((end for start, end in MARKERS if prompt.endswith(start)), "")
    if not end or not isinstance(processor.chat_template, str):
        return None
    return processor.chat_template + '{% if add_generation_prompt %}{{ "\\n' + end + '\\n\\n" }}{% endif %}'


def _with_image(part: Mapping[str, Any], images: Any) -> dict[str, Any]:
    return {**part, "image": next(images)} if part["type"] == "image" else dict(part)


def open_image(media: Media) -> Image.Image:
    """The image on white, scaled down to `MAX_IMAGE_PIXELS`, with white beside it beyond `MAX_ASPECT`.

    Raises what Pillow raises.
    """
    image = open_on_white(media.data)
    longest = math.sqrt(MAX_IMAGE_PIXELS * MAX_ASPECT)
    scale = min(math.sqrt(MAX_IMAGE_PIXELS / (image.width * image.height)), longest / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return _limit_aspect(image)


def _limit_aspect(image: Image.Image) -> Image.Image:
    shortest = math.ceil(max(image.size) / MAX_ASPECT)
    if min(image.size) >= shortest:
        return image
    size = (max(image.width, shortest), max(image.height, shortest))
    padded = Image.new("RGB", size, "white")
    padded.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return padded
