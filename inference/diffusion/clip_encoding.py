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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bot.prompts.grammar import Piece, chunks
from inference.diffusion.loader import takes
from inference.diffusion.textual_inversion import Vectors, speaking, split

Token = tuple[int | torch.Tensor, float]
"""An id, or a learned vector in its place; and its weight."""
Chunk = Sequence[Token]
_Cut = Sequence[Chunk]
_Read = tuple[torch.Tensor, torch.Tensor | None]
AT_ONCE = 16
"""Chunks of one call of an encoder."""


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
        tensors = (getattr(self, one.name) for one in fields(self))
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


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one person's prompts are. `vectors`: textual inversions by the word that calls them."""

    prompt: str
    negative: str
    wants_negative: bool
    vectors: Vectors = field(default_factory=dict)


@torch.no_grad()
def encode(
    pipeline: Any, prompt: str, negative: str, *, wants_negative: bool, vectors: Vectors | None = None
) -> Conditioning:
    """Only for a pipeline of which `reads_weights` is true.

    Args:
        vectors: textual inversions by the word that calls them.
    """
    readers = _readers(pipeline)
    wish = Wish(prompt=prompt, negative=negative, wants_negative=wants_negative, vectors=vectors or {})
    plan = _plan(pipeline, readers, wish)
    return _encoded(plan, lambda cuts: [reader.read(cut) for reader, cut in zip(readers, cuts, strict=True)], readers)


@torch.no_grad()
def encode_all(pipeline: Any, wishes: Sequence[Wish]) -> list[Conditioning]:
    """`encode` for several people in a few calls of each encoder, equal words once; without vectors."""
    readers = _readers(pipeline)
    plans = [_plan(pipeline, readers, wish) for wish in wishes]
    known: list[dict[Any, _Read]] = []
    for place, reader in enumerate(readers):
        texts = {_named(cuts[place]): cuts[place] for plan in plans for cuts in (plan.said, plan.unwanted) if cuts}
        known.append(dict(zip(texts, reader.read_all(list(texts.values())), strict=True)))

    def look_up(cuts: Sequence[_Cut]) -> list[_Read]:
        return [texts[_named(cut)] for texts, cut in zip(known, cuts, strict=True)]

    return [_encoded(plan, look_up, readers) for plan in plans]


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

    def read(self, cut: _Cut) -> _Read:
        """What the chunks say, (1, chunks x length, width), and the first one's pooled output if it has one."""
        (read,) = self._read([cut])
        return read

    def read_all(self, cuts: Sequence[_Cut]) -> list[_Read]:
        """`read` of each, a few chunks in one call."""
        found: list[_Read] = []
        while len(found) < len(cuts):
            some = cuts[len(found) :]
            chunks = accumulate(len(cut) for cut in some)
            found += self._read(some[: max(1, sum(count <= AT_ONCE for count in chunks))])
        return found

    def _read(self, cuts: Sequence[_Cut]) -> list[_Read]:
        every = [chunk for cut in cuts for chunk in cut]
        weights = torch.tensor([self._filled([weight for _, weight in chunk], 1.0) for chunk in every])
        is_weighed = bool((weights != 1).any())
        hidden, pooled = self._encoded([*every, *([()] if is_weighed else [])])
        if is_weighed:
            hidden = _weighed(hidden[:-1], hidden[-1:], weights)
        found: list[_Read] = []
        start = 0
        for cut in cuts:
            said = hidden[start : start + len(cut)]
            found.append((said.reshape(1, -1, said.shape[-1]), None if pooled is None else pooled[start : start + 1]))
            start += len(cut)
        return found

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


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Equally many chunks for each encoder, of a prompt and of what is unwanted (none: zeros, or no guidance)."""

    wants_negative: bool
    said: Sequence[_Cut]
    unwanted: Sequence[_Cut]


def _plan(pipeline: Any, readers: Sequence[_Reader], wish: Wish) -> _Plan:
    is_zero = not wish.negative and bool(getattr(pipeline.config, "force_zeros_for_empty_prompt", False))
    said = [reader.cut(wish.prompt, wish.vectors) for reader in readers]
    has_unwanted = wish.wants_negative and not is_zero
    unwanted = [reader.cut(wish.negative, wish.vectors) for reader in readers] if has_unwanted else []
    most = max(len(cut) for cut in (*said, *unwanted))

    def filled(cuts: Sequence[_Cut]) -> list[_Cut]:
        return [[*cut, *[()] * (most - len(cut))] for cut in cuts]

    return _Plan(wants_negative=wish.wants_negative, said=filled(said), unwanted=filled(unwanted))


def _encoded(
    plan: _Plan, read: Callable[[Sequence[_Cut]], Sequence[_Read]], readers: Sequence[_Reader]
) -> Conditioning:
    """`read` gives what each encoder makes of its chunks; side by side, in the format of the last encoder."""

    def joined(cuts: Sequence[_Cut]) -> _Read:
        made = read(cuts)
        embeds = torch.concat([hidden for hidden, _ in made], dim=-1).to(readers[-1].dtype)
        return embeds, next((pooled for _, pooled in made if pooled is not None), None)

    embeds, pooled = joined(plan.said)
    if not plan.wants_negative:
        return Conditioning(embeds, None, pooled, None)
    if not plan.unwanted:
        zeros = None if pooled is None else torch.zeros_like(pooled)
        return Conditioning(embeds, torch.zeros_like(embeds), pooled, zeros)
    negative_embeds, negative_pooled = joined(plan.unwanted)
    return Conditioning(embeds, negative_embeds, pooled, negative_pooled)


def _named(cut: _Cut) -> tuple[tuple[Token, ...], ...]:
    """To find it again; without vectors, which are not equal to anything."""
    return tuple(tuple(chunk) for chunk in cut)


def _readers(pipeline: Any) -> list[_Reader]:
    return [_Reader(tokenizer, model, is_xl=_is_xl(pipeline)) for tokenizer, model in _pairs(pipeline)]


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
