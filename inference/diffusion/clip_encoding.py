"""Encodes prompts for the UNet families: CLIP text encoders, one (SD 1.x, 2.x) or two with a pooled output (SDXL).

An unweighted prompt that fits the encoder gives the same embeddings as the pipeline's `encode_prompt`, bit for bit.

Longer prompts are split into chunks of the encoder's length minus two, each chunk is encoded between its own start and
end token, and the results are concatenated; `BREAK` starts a new chunk. Cross attention accepts any length. Prompt and
negative prompt are padded to the same length with empty chunks. The pooled output is that of the first chunk.

Weights: z' = e + w (z - e), token by token, where z is the encoded chunk and e the encoding of an empty chunk at the
same position; w = 1 leaves z unchanged and w = 0 gives the empty encoding. Source: ComfyUI, `comfy/sd1_clip.py`
(`ClipTokenWeightEncoder`); compel also interpolates from the empty prompt. A1111 scales z and restores the chunk's
mean instead, which divides by a mean that can be near 0.

Clip skip: the hidden states of an earlier layer, counted from the one that the family uses. As in Diffusers' pipelines,
it applies to the prompt and not to the negative prompt.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from bot.prompts.grammar import WeightedText, parse_chunks
from inference.diffusion.loader import call_parameters
from inference.diffusion.textual_inversion import InversionVectors, inject_vectors, split_at_trigger_words

Token = tuple[int | torch.Tensor, float]
"""A token id or a textual-inversion vector, and its weight."""
Chunk = Sequence[Token]
_Chunks = Sequence[Chunk]
"""All chunks of one prompt."""
_EncoderOutput = tuple[torch.Tensor, torch.Tensor | None]
"""(1, tokens, width), and the pooled output, (1, width), if the encoder has one."""
CHUNKS_PER_CALL = 16
"""Chunks in one forward pass of an encoder, at most."""


@dataclass(frozen=True)
class PromptEmbeds:
    """A prompt's embeddings, on the denoiser's device.

    Attributes:
        embeds: (1, tokens, width).
        negative_embeds: the same shape; None: without guidance.
        pooled, negative_pooled: (1, width); None: the family has none.
    """

    embeds: torch.Tensor
    negative_embeds: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    negative_pooled: torch.Tensor | None = None

    @property
    def token_count(self) -> int:
        """Only rows with the same token count share a forward pass."""
        return int(self.embeds.shape[1])

    @property
    def nbytes(self) -> int:
        tensors = (getattr(self, attribute.name) for attribute in fields(self))
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def pipeline_arguments(self) -> dict[str, torch.Tensor]:
        """Arguments of a pipeline's `__call__` that replace its prompts."""
        arguments = {
            "prompt_embeds": self.embeds,
            "negative_prompt_embeds": self.negative_embeds,
            "pooled_prompt_embeds": self.pooled,
            "negative_pooled_prompt_embeds": self.negative_pooled,
        }
        return {name: tensor for name, tensor in arguments.items() if tensor is not None}


def supports_prompt_weights(pipeline: Any) -> bool:
    """Whether this module can encode prompts for the pipeline; other pipelines get plain text."""
    if not hasattr(pipeline, "unet") or "prompt_embeds" not in call_parameters(pipeline):
        return False
    pairs = _tokenizers_and_encoders(pipeline)
    are_clip = all(isinstance(model, CLIPTextModel | CLIPTextModelWithProjection) for _, model in pairs)
    return bool(pairs) and are_clip and all(len(_special_ids(tokenizer)) == 2 for tokenizer, _ in pairs)


@dataclass(frozen=True, kw_only=True)
class PromptRequest:
    """One image's prompts in a step.

    Attributes:
        vectors: textual inversions by trigger word.
        chunk_count: chunks, at least.
        clip_skip: layers of the encoders to leave out for the prompt, as Diffusers counts: 0 uses all.
    """

    prompt: str
    negative_prompt: str
    uses_guidance: bool
    vectors: InversionVectors = field(default_factory=dict)
    chunk_count: int = 1
    clip_skip: int = 0


@torch.no_grad()
def encode_prompt(
    pipeline: Any,
    prompt: str,
    negative_prompt: str,
    *,
    uses_guidance: bool,
    vectors: InversionVectors | None = None,
    chunk_count: int = 1,
    clip_skip: int = 0,
) -> PromptEmbeds:
    """For pipelines with `supports_prompt_weights` only. See `PromptRequest`."""
    encoders = _clip_encoders(pipeline)
    request = PromptRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        uses_guidance=uses_guidance,
        vectors=vectors or {},
        chunk_count=chunk_count,
        clip_skip=clip_skip,
    )

    def encode(prompt_chunks: Sequence[_Chunks], skip: int) -> list[_EncoderOutput]:
        return [encoder.encode(chunks, skip) for encoder, chunks in zip(encoders, prompt_chunks, strict=True)]

    return _assemble_embeds(_plan_chunks(pipeline, encoders, request), encode, encoders)


@torch.no_grad()
def encode_batch(pipeline: Any, requests: Sequence[PromptRequest]) -> list[PromptEmbeds]:
    """`encode_prompt` of several prompts in a few passes of each encoder, equal prompts once; without vectors."""
    encoders = _clip_encoders(pipeline)
    plans = [_plan_chunks(pipeline, encoders, request) for request in requests]
    encoded: dict[Any, _EncoderOutput] = {}
    for skip in {plan.clip_skip for plan in plans} | {0}:
        prompts = [plan.positive for plan in plans if plan.clip_skip == skip]
        prompts += [plan.negative for plan in plans if plan.negative and not skip]
        for number, encoder in enumerate(encoders):
            unique = {(number, skip, _chunks_key(prompt[number])): prompt[number] for prompt in prompts}
            encoded |= zip(unique, encoder.encode_batch(list(unique.values()), skip), strict=True)

    def look_up(prompt_chunks: Sequence[_Chunks], skip: int) -> list[_EncoderOutput]:
        return [encoded[number, skip, _chunks_key(chunks)] for number, chunks in enumerate(prompt_chunks)]

    return [_assemble_embeds(plan, look_up, encoders) for plan in plans]


def max_clip_skip(pipeline: Any) -> int:
    """How many layers of each encoder can be left out."""
    return min(int(model.config.num_hidden_layers) for _, model in _tokenizers_and_encoders(pipeline)) - 1


def count_chunks(pipeline: Any, prompts: Iterable[str], vectors: InversionVectors) -> int:
    """Of the longest of these prompts; at least one."""
    encoders = _clip_encoders(pipeline)
    counts = (len(encoder.split_into_chunks(prompt, vectors)) for prompt in prompts for encoder in encoders)
    return max(counts, default=1)


class ChunkedClipEncoder:
    """One tokenizer and its encoder. `is_xl`: use the penultimate layer, and the pooled output."""

    def __init__(self, tokenizer: Any, model: Any, *, is_xl: bool) -> None:
        self._tokenizer, self._model, self._is_xl = tokenizer, model, is_xl
        self._bos_id, self._eos_id = _special_ids(tokenizer)
        self._length = min(int(tokenizer.model_max_length), int(model.config.max_position_embeddings))
        self._width = int(model.get_input_embeddings().embedding_dim)
        self.dtype: torch.dtype = model.dtype

    def split_into_chunks(self, prompt: str, vectors: InversionVectors) -> list[Chunk]:
        """The prompt's tokens in chunks that fit the encoder; at least one."""
        size = self._length - 2
        result: list[Chunk] = []
        for pieces in parse_chunks(prompt):
            tokens = [token for piece in pieces for token in self._tokenize(piece, vectors)]
            result += [tokens[start : start + size] for start in range(0, len(tokens) or 1, size)]
        return result

    def _tokenize(self, piece: WeightedText, vectors: InversionVectors) -> Iterator[Token]:
        for part in split_at_trigger_words(piece.text, vectors, self._width):
            if isinstance(part, str):
                ids = self._tokenizer(part, add_special_tokens=False, padding=False, truncation=False).input_ids
                yield from ((token_id, piece.weight) for token_id in ids)
            else:
                yield from ((vector, piece.weight) for vector in part)

    def encode(self, chunks: _Chunks, skip: int = 0) -> _EncoderOutput:
        """The chunks' hidden states, (1, chunks x length, width), and the first one's pooled output, if any.

        `skip`: layers to leave out.
        """
        (output,) = self._encode_weighted([chunks], skip)
        return output

    def encode_batch(self, prompts: Sequence[_Chunks], skip: int = 0) -> list[_EncoderOutput]:
        """`encode` of each prompt, several chunks in one forward pass."""
        outputs: list[_EncoderOutput] = []
        while len(outputs) < len(prompts):
            remaining = prompts[len(outputs) :]
            chunk_counts = accumulate(len(chunks) for chunks in remaining)
            fitting = sum(count <= CHUNKS_PER_CALL for count in chunk_counts)
            outputs += self._encode_weighted(remaining[: max(1, fitting)], skip)
        return outputs

    def _encode_weighted(self, prompts: Sequence[_Chunks], skip: int) -> list[_EncoderOutput]:
        all_chunks = [chunk for chunks in prompts for chunk in chunks]
        weights = torch.tensor([self._fill_positions([weight for _, weight in chunk], 1.0) for chunk in all_chunks])
        is_weighted = bool((weights != 1).any())
        hidden, pooled = self._forward([*all_chunks, *([()] if is_weighted else [])], skip)
        if is_weighted:
            hidden = _apply_weights(hidden[:-1], hidden[-1:], weights)
        outputs: list[_EncoderOutput] = []
        start = 0
        for prompt in prompts:
            states = hidden[start : start + len(prompt)].reshape(1, -1, hidden.shape[-1])
            outputs.append((states, None if pooled is None else pooled[start : start + 1]))
            start += len(prompt)
        return outputs

    def _forward(self, chunks: Sequence[Chunk], skip: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(chunks, length, width), and (chunks, width) from a model with a pooled output."""
        placeholder = next(number for number in range(3) if number not in (self._bos_id, self._eos_id))
        tokens = [[placeholder if isinstance(token, torch.Tensor) else token for token, _ in chunk] for chunk in chunks]
        ids = torch.tensor([self._padded_ids(chunk) for chunk in tokens])
        vectors = {
            (row, column): token
            for row, chunk in enumerate(chunks)
            for column, (token, _) in enumerate(chunk, 1)
            if isinstance(token, torch.Tensor)
        }
        device = get_module_execution_device(self._model)
        with inject_vectors(self._model, vectors):
            if self._is_xl:
                output = self._model(ids.to(device), output_hidden_states=True)
                return output.hidden_states[-2 - skip], output[0] if output[0].ndim == 2 else None
            mask = self._attention_mask(tokens, device)
            if not skip:
                return self._model(ids.to(device), attention_mask=mask)[0], None
            output = self._model(ids.to(device), attention_mask=mask, output_hidden_states=True)
            return _final_layer_norm(self._model)(output.hidden_states[-1 - skip]), None

    def _padded_ids(self, chunk: Sequence[int]) -> list[int]:
        pad = self._tokenizer.pad_token_id
        ids = [self._bos_id, *chunk, self._eos_id]
        return ids + [self._eos_id if pad is None else pad] * (self._length - len(ids))

    def _attention_mask(self, tokens: Sequence[Sequence[int]], device: Any) -> torch.Tensor | None:
        if not getattr(self._model.config, "use_attention_mask", False):
            return None
        rows = [[1] * (len(chunk) + 2) + [0] * (self._length - len(chunk) - 2) for chunk in tokens]
        return torch.tensor(rows, device=device)

    def _fill_positions(self, values: Sequence[float], default: float) -> list[float]:
        """One value for each position of a chunk, including start, end and padding."""
        return [default, *values, *[default] * (self._length - 1 - len(values))]


def _final_layer_norm(model: Any) -> Any:
    """Of a CLIP text encoder: newer versions of Transformers have no inner `text_model`."""
    return getattr(model, "text_model", model).final_layer_norm


def _apply_weights(hidden: torch.Tensor, empty: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`hidden`: (chunks, length, width); `empty`: (1, length, width); `weights`: (chunks, length)."""
    z, e, weight = hidden.float(), empty.float(), weights.to(hidden.device, torch.float32)[..., None]
    weighted = (e + weight * (z - e)).to(hidden.dtype)
    return torch.where(weight == 1, hidden, weighted)


@dataclass(frozen=True, kw_only=True)
class _ChunkPlan:
    """For each encoder the same number of chunks of both prompts; an empty `negative` means zeros or no guidance."""

    uses_guidance: bool
    positive: Sequence[_Chunks]
    negative: Sequence[_Chunks]
    clip_skip: int


def _plan_chunks(pipeline: Any, encoders: Sequence[ChunkedClipEncoder], request: PromptRequest) -> _ChunkPlan:
    def split(prompt: str) -> list[_Chunks]:
        return [encoder.split_into_chunks(prompt, request.vectors) for encoder in encoders]

    is_zero = not request.negative_prompt and bool(getattr(pipeline.config, "force_zeros_for_empty_prompt", False))
    positive = split(request.prompt)
    negative = split(request.negative_prompt) if request.uses_guidance and not is_zero else []
    count = max(request.chunk_count, *(len(chunks) for chunks in (*positive, *negative)))

    def pad(prompt_chunks: Sequence[_Chunks]) -> list[_Chunks]:
        return [[*chunks, *[()] * (count - len(chunks))] for chunks in prompt_chunks]

    return _ChunkPlan(
        uses_guidance=request.uses_guidance,
        positive=pad(positive),
        negative=pad(negative),
        clip_skip=request.clip_skip,
    )


def _assemble_embeds(
    plan: _ChunkPlan,
    encode: Callable[[Sequence[_Chunks], int], Sequence[_EncoderOutput]],
    encoders: Sequence[ChunkedClipEncoder],
) -> PromptEmbeds:
    """Concatenate the encoders' hidden states by width, in the dtype of the last.

    `encode`: all encoders' outputs without these last layers.
    """

    def encode_all(prompt_chunks: Sequence[_Chunks], skip: int = 0) -> _EncoderOutput:
        outputs = encode(prompt_chunks, skip)
        embeds = torch.concat([hidden for hidden, _ in outputs], dim=-1).to(encoders[-1].dtype)
        return embeds, next((pooled for _, pooled in outputs if pooled is not None), None)

    embeds, pooled = encode_all(plan.positive, plan.clip_skip)
    if not plan.uses_guidance:
        return PromptEmbeds(embeds, None, pooled, None)
    if not plan.negative:
        zeros = None if pooled is None else torch.zeros_like(pooled)
        return PromptEmbeds(embeds, torch.zeros_like(embeds), pooled, zeros)
    negative_embeds, negative_pooled = encode_all(plan.negative)
    return PromptEmbeds(embeds, negative_embeds, pooled, negative_pooled)


def _chunks_key(chunks: _Chunks) -> tuple[tuple[Token, ...], ...]:
    """A dictionary key; only for chunks without vectors, because tensors do not compare equal."""
    return tuple(tuple(chunk) for chunk in chunks)


def _clip_encoders(pipeline: Any) -> list[ChunkedClipEncoder]:
    return [
        ChunkedClipEncoder(tokenizer, model, is_xl=_is_xl(pipeline))
        for tokenizer, model in _tokenizers_and_encoders(pipeline)
    ]


def _tokenizers_and_encoders(pipeline: Any) -> list[tuple[Any, Any]]:
    """Tokenizers with their encoders; empty if a third encoder makes it another family."""
    if getattr(pipeline, "text_encoder_3", None) is not None:
        return []
    names = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    pairs = [(getattr(pipeline, tokenizer, None), getattr(pipeline, encoder, None)) for tokenizer, encoder in names]
    return [(tokenizer, model) for tokenizer, model in pairs if tokenizer is not None and model is not None]


def _is_xl(pipeline: Any) -> bool:
    return hasattr(pipeline, "tokenizer_2")


def _special_ids(tokenizer: Any) -> list[int]:
    """The ids of an empty text: its start and end token."""
    return list(tokenizer("", padding=False, truncation=False).input_ids)
