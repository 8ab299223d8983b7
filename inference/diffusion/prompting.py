"""Reads prompts for the UNet families: CLIP text encoders, one (SD 1.x, 2.x) or two with a pooled output (SDXL).

A prompt without weights that fits the encoder gives what the pipeline's own `encode_prompt` gives, bit for bit.

Beyond that length the tokens are cut into chunks of what an encoder takes less its two ends, each chunk is encoded
between a beginning and an end of its own, and the results are laid end to end; `BREAK` begins another chunk. Cross
attention takes any length. Prompt and negative prompt are filled up to the same length with chunks that say nothing.
The pooled output is the first chunk's.

Weights: z' = e + w (z - e), token by token, where z is the encoded chunk and e the encoding of an empty one at the same
place; w = 1 leaves z as it is and w = 0 says nothing there. Source: ComfyUI, `comfy/sd1_clip.py`
(`ClipTokenWeightEncoder`); compel moves away from the empty prompt likewise. A1111's way, which scales z and restores
the mean of the chunk, divides by a mean that can be near 0.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bot.ports import Task
from bot.prompts import Piece, chunks, prompt_of, words_of
from inference.diffusion.adapters import Adapters, LoraSet, loras_of
from inference.diffusion.inversions import Vectors, inversions_of, read_vectors, speaking, split
from inference.diffusion.loading import takes
from inference.words import prompt_notes

_MB = 2**20
Token = tuple[int | torch.Tensor, float]
"""An id, or a learned vector in its place; and its weight."""
Chunk = Sequence[Token]


@dataclass(frozen=True)
class Conditioning:
    """What a prompt says to a denoiser, on its device.

    Attributes:
        embeds: (1, tokens, width).
        negative_embeds: of the same shape; None: without guidance.
        pooled, negative_pooled: (1, width); None: the family has none.
    """

    embeds: torch.Tensor
    negative_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    negative_pooled: torch.Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens. Only rows of one length share a forward pass."""
        return int(self.embeds.shape[1])

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def arguments(self) -> dict[str, torch.Tensor]:
        """For a pipeline's `__call__`, in place of its prompts."""
        named = {
            "prompt_embeds": self.embeds,
            "negative_prompt_embeds": self.negative_embeds,
            "pooled_prompt_embeds": self.pooled,
            "negative_pooled_prompt_embeds": self.negative_pooled,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def reads_weights(pipeline: Any) -> bool:
    """Whether prompts for the pipeline can be read here; others take them as plain words."""
    if not hasattr(pipeline, "unet") or "prompt_embeds" not in takes(pipeline):
        return False
    pairs = _pairs(pipeline)
    are_clip = all(isinstance(model, CLIPTextModel | CLIPTextModelWithProjection) for _, model in pairs)
    return bool(pairs) and are_clip and all(len(_ends(tokenizer)) == 2 for tokenizer, _ in pairs)


@torch.no_grad()
def encode(
    pipeline: Any, prompt: str, negative: str, *, wants_negative: bool, vectors: Vectors | None = None
) -> Conditioning:
    """Only for a pipeline of which `reads_weights` is true.

    Args:
        vectors: textual inversions by the word that calls them.
    """
    readers = [_Reader(tokenizer, model, is_xl=_is_xl(pipeline)) for tokenizer, model in _pairs(pipeline)]
    said = [reader.cut(prompt, vectors or {}) for reader in readers]
    is_zero = not negative and bool(getattr(pipeline.config, "force_zeros_for_empty_prompt", False))
    unwanted = [reader.cut(negative, vectors or {}) for reader in readers] if wants_negative and not is_zero else []
    most = max(len(cut) for cut in (*said, *unwanted))
    embeds, pooled = _joined(readers, said, most)
    if not wants_negative:
        return Conditioning(embeds, None, pooled, None)
    if is_zero:
        return Conditioning(
            embeds, torch.zeros_like(embeds), pooled, None if pooled is None else torch.zeros_like(pooled)
        )
    negative_embeds, negative_pooled = _joined(readers, unwanted, most)
    return Conditioning(embeds, negative_embeds, pooled, negative_pooled)


class PromptEncoder:
    """`encode` with a memory: whoever asks for the same words again gets the same tensors.

    All calls come from one thread. `limit_mb`: of what is remembered, MiB.
    """

    def __init__(self, pipeline: Any, limit_mb: float = 64, adapters: Adapters | None = None) -> None:
        self._pipeline = pipeline
        self._limit = int(limit_mb * _MB)
        self._adapters = adapters
        self._kept: OrderedDict[Any, Conditioning] = OrderedDict()
        self._vectors: dict[tuple[str, int], Mapping[int, torch.Tensor]] = {}

    def conditioning(
        self,
        prompt: str,
        negative: str,
        wants_negative: bool,
        *,
        loras: LoraSet = (),
        inversions: Mapping[str, str] | None = None,
    ) -> Conditioning:
        """Args:
            loras: applied to the text encoders, too, before they read.
            inversions: files by the word that calls them.

        Raises: InvalidOption: a LoRA or an inversion does not fit.
        """
        files = tuple(sorted((word, path, Path(path).stat().st_mtime_ns) for word, path in (inversions or {}).items()))
        key = (prompt, negative if wants_negative else None, loras, files)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._adapters is not None:
            self._adapters.apply(loras)
        vectors = {word: self._read(path, changed_at) for word, path, changed_at in files}
        made = encode(self._pipeline, prompt, negative, wants_negative=wants_negative, vectors=vectors)
        self._keep(key, made)
        return made

    def clear(self) -> None:
        self._kept.clear()
        self._vectors.clear()

    @property
    def size(self) -> int:
        """Bytes of what is remembered."""
        return sum(one.size for one in self._kept.values())

    def _keep(self, key: Any, made: Conditioning) -> None:
        if made.size > self._limit:
            return
        self._kept[key] = made
        while self.size > self._limit:
            self._kept.popitem(last=False)

    def _read(self, path: str, changed_at: int) -> Mapping[int, torch.Tensor]:
        if (path, changed_at) not in self._vectors:
            self._vectors[path, changed_at] = read_vectors(Path(path))
        return self._vectors[path, changed_at]


class Speaker:
    """What a task's prompts say to a pipeline, as arguments of its call; whatever text encoder it has."""

    def __init__(self, pipeline: Any, adapters: Adapters) -> None:
        self.adapters = adapters
        self._pipeline = pipeline
        self._encoder = PromptEncoder(pipeline, adapters=adapters) if reads_weights(pipeline) else None

    def say(self, task: Task, index: int) -> dict[str, Any]:
        """For picture `index`. Raises: InvalidOption: what a prompt names does not fit."""
        prompt, negative = prompt_of(task.options, index), str(task.options.get("negative_prompt") or "")
        if self._encoder is None:
            return {"prompt": words_of(prompt), "negative_prompt": words_of(negative) or None}
        wants_negative = float(task.options.get("guidance_scale", 0)) > 1
        said = self._encoder.conditioning(
            prompt, negative, wants_negative, loras=loras_of(task, index), inversions=inversions_of(task)
        )
        return dict(said.arguments())

    def notes(self, task: Task, *, is_demo: bool) -> tuple[str, ...]:
        """Sentences for the person."""
        is_read_whole = self._encoder is not None
        return prompt_notes(self._pipeline, prompt_of(task.options), is_demo=is_demo, is_read_whole=is_read_whole)


class _Reader:
    """One tokenizer with its encoder. `is_xl`: the last layer but one is what counts, and the output is pooled."""

    def __init__(self, tokenizer: Any, model: Any, *, is_xl: bool) -> None:
        self._tokenizer, self._model, self._is_xl = tokenizer, model, is_xl
        self._begin, self._end = _ends(tokenizer)
        self._length = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings))
        self._width = int(model.get_input_embeddings().embedding_dim)
        self.dtype: torch.dtype = model.dtype

    def cut(self, prompt: str, vectors: Vectors) -> list[Chunk]:
        """The prompt's tokens in chunks that the encoder takes; at least one."""
        room = self._length - 2
        found: list[Chunk] = []
        for pieces in chunks(prompt):
            tokens = [token for piece in pieces for token in self._tokens(piece, vectors)]
            found += [tokens[start : start + room] for start in range(0, len(tokens) or 1, room)]
        return found

    def _tokens(self, piece: Piece, vectors: Vectors) -> Iterator[Token]:
        for part in split(piece.text, vectors, self._width):
            if isinstance(part, str):
                ids = self._tokenizer(part, add_special_tokens=False, padding=False, truncation=False).input_ids
                yield from ((one, piece.weight) for one in ids)
            else:
                yield from ((vector, piece.weight) for vector in part)

    def read(self, cut: Sequence[Chunk]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the chunks say, (1, chunks x length, width), and the first one's pooled output if it has one."""
        weights = torch.tensor([self._filled([weight for _, weight in chunk], 1.0) for chunk in cut])
        is_weighed = bool((weights != 1).any())
        hidden, pooled = self._encoded([*cut, *([()] if is_weighed else [])])
        if is_weighed:
            hidden = _weighed(hidden[:-1], hidden[-1:], weights)
        return hidden.reshape(1, -1, hidden.shape[-1]), None if pooled is None else pooled[:1]

    def _encoded(self, cut: Sequence[Chunk]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(chunks, length, width), and (chunks, width) for a model that pools."""
        placeholder = next(one for one in range(3) if one not in (self._begin, self._end))
        tokens = [[placeholder if isinstance(one, torch.Tensor) else one for one, _ in chunk] for chunk in cut]
        ids = torch.tensor([self._ids(chunk) for chunk in tokens])
        places = {
            (row, column): one
            for row, chunk in enumerate(cut)
            for column, (one, _) in enumerate(chunk, 1)
            if isinstance(one, torch.Tensor)
        }
        device = get_module_execution_device(self._model)
        with speaking(self._model, places):
            if self._is_xl:
                made = self._model(ids.to(device), output_hidden_states=True)
                return made.hidden_states[-2], made[0] if made[0].ndim == 2 else None
            return self._model(ids.to(device), attention_mask=self._mask(tokens, device))[0], None

    def _ids(self, chunk: Sequence[int]) -> list[int]:
        pad = self._tokenizer.pad_token_id
        ids = [self._begin, *chunk, self._end]
        return ids + [self._end if pad is None else pad] * (self._length - len(ids))

    def _mask(self, tokens: Sequence[Sequence[int]], device: Any) -> torch.Tensor | None:
        if not getattr(self._model.config, "use_attention_mask", False):
            return None
        rows = [[1] * (len(chunk) + 2) + [0] * (self._length - len(chunk) - 2) for chunk in tokens]
        return torch.tensor(rows, device=device)

    def _filled(self, values: Sequence[float], rest: float) -> list[float]:
        """One for each place of a chunk, its ends among them."""
        return [rest, *values, *[rest] * (self._length - 1 - len(values))]


def _weighed(hidden: torch.Tensor, empty: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`hidden`: (chunks, length, width); `empty`: (1, length, width); `weights`: (chunks, length)."""
    given, nothing, factor = hidden.float(), empty.float(), weights.to(hidden.device, torch.float32)[..., None]
    moved = (nothing + factor * (given - nothing)).to(hidden.dtype)
    return torch.where(factor == 1, hidden, moved)


def _joined(
    readers: Sequence[_Reader], cuts: Sequence[Sequence[Chunk]], most: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What all encoders say of `most` chunks, side by side, in the format of the last encoder."""
    read = [reader.read([*cut, *[()] * (most - len(cut))]) for reader, cut in zip(readers, cuts, strict=True)]
    embeds = torch.concat([hidden for hidden, _ in read], dim=-1).to(readers[-1].dtype)
    pooled = next((pooled for _, pooled in read if pooled is not None), None)
    return embeds, pooled


def _pairs(pipeline: Any) -> list[tuple[Any, Any]]:
    """Tokenizers with their encoders; none when a third makes it another family."""
    if getattr(pipeline, "text_encoder_3", None) is not None:
        return []
    named = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    pairs = [(getattr(pipeline, one, None), getattr(pipeline, other, None)) for one, other in named]
    return [(tokenizer, model) for tokenizer, model in pairs if tokenizer is not None and model is not None]


def _is_xl(pipeline: Any) -> bool:
    return hasattr(pipeline, "tokenizer_2")


def _ends(tokenizer: Any) -> list[int]:
    """The ids that every text begins and ends with."""
    return list(tokenizer("", padding=False, truncation=False).input_ids)
